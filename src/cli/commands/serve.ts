import { once } from 'node:events';
import { type Command, Option } from 'commander';
import { MOST_THREADS } from '../../ckks/evaluator/fast/kernels/threads.ts';
import { BlindbeatError } from '../../errors.ts';
import type { Settings } from '../../service/http/config.ts';
import { examples, listOption, wholeNumber } from '../options.ts';
import { interruptible } from '../terminal/interrupt.ts';
import { type Io, print, printLines } from '../terminal/io.ts';

type ServeOptions = Omit<Settings, 'tls'> & {
  tlsCert?: string;
  tlsKey?: string;
  config?: string;
  json?: boolean;
};

/** `blindbeat serve`: the server's side of many clients, over HTTP. */
export function addServe(program: Command, io: Io): void {
  const command = program
    .command('serve')
    .summary('serve models to clients over HTTP')
    .description(
      'Evaluate encrypted ECGs for clients over HTTP, blindly. The log goes to standard output, one line of JSON ' +
        'for each request. Ctrl-C finishes what runs and ends; without --data-dir nothing is left behind.',
    )
    .option('--port <n>', 'where to listen; 0 takes any that is free (default: 8080)', wholeNumber(0, 65_535))
    .option(
      '--host <name|address>',
      'address to listen at; others than this machine need tokens (default: 127.0.0.1)',
    )
    .addOption(
      listOption(
        '--models <list>',
        'names of shipped models or folders, between commas (default: deepcardio-deg2)',
        String,
      ),
    )
    .option('--data-dir <dir>', 'folder for tokens and keys (default: no tokens, and keys until it ends)')
    .option('--workers <n>', 'processes that evaluate (default: 1)', wholeNumber(1, 1024))
    .option('--threads <n>', 'threads of each (default: one for every core)', wholeNumber(1, MOST_THREADS))
    .option(
      '--nats <url>',
      'evaluate on the machines of `blindbeat worker` at this nats-server, and not here (docs/server.md)',
    )
    .option('--tls-cert <file>', 'certificate in PEM, for HTTPS')
    .option('--tls-key <file>', 'its key')
    .option(
      '--config <file>',
      'these and more settings as JSON; options given here go before (docs/server.md)',
    )
    .addOption(
      new Option('--json', 'an error as a JSON object behind the log, and no words on standard error'),
    )
    .action((options: ServeOptions) => interruptible((signal) => serve(options, io, signal)));
  examples(command, [
    'blindbeat serve',
    'blindbeat serve --data-dir /var/lib/blindbeat --host 0.0.0.0 --port 8443',
    'blindbeat serve --config blindbeat.json | tee -a requests.log',
  ]);
}

async function serve(options: ServeOptions, io: Io, signal: AbortSignal): Promise<void> {
  const { config: file, json, tlsCert, tlsKey, ...given } = options;
  // Loaded when needed: other commands start without a web server.
  const { configOf, readSettings } = await import('../../service/http/config.ts');
  const { startService } = await import('../../service/http/service.ts');
  const settings = file === undefined ? {} : await readSettings(file);
  const config = configOf({ ...settings, ...given, ...tlsOf(tlsCert, tlsKey) });
  await using service = await startService(config, { write: (line) => print(io.stdout, line) }, signal);
  const { url, models, tokens } = service;
  if (!json) {
    const who = tokens ? 'whoever has a token' : 'whoever is on this machine';
    printLines(io.stderr, [`${models.join(', ')} at ${url}, for ${who}; Ctrl-C ends it`]);
  }
  if (!signal.aborted) await once(signal, 'abort');
}

function tlsOf(cert?: string, key?: string): Pick<Settings, 'tls'> {
  if (cert === undefined && key === undefined) return {};
  if (cert !== undefined && key !== undefined) return { tls: { cert, key } };
  throw new BlindbeatError('USAGE', '--tls-cert and --tls-key belong together: give both');
}
