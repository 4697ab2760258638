import type { Command } from 'commander';
import { Client } from '../../ckks/client.ts';
import { requestDigest } from '../../ckks/wire/reply.ts';
import { keyFiles } from '../../client/key-storage/key-folder.ts';
import { RequestLog, requestLogFile, shortName } from '../../client/request-log.ts';
import { BlindbeatError } from '../../errors.ts';
import { OutputFiles, requireDistinct } from '../../files/output.ts';
import { formatBytes } from '../../measure/format.ts';
import { timed } from '../../measure/stages.ts';
import { describeEcg, type EcgOptions, ecgOptions, readEcg } from '../files/ecg.ts';
import { readKeyFolder } from '../files/key-folder.ts';
import { examples, jsonOption } from '../options.ts';
import { type Io, printJson, printLines, warn } from '../terminal/io.ts';

interface EncryptOptions extends EcgOptions {
  keys: string;
  out: string;
  json?: boolean;
}

/** `blindbeat encrypt`: the client's request. */
export function addEncrypt(program: Command, io: Io): void {
  const command = program
    .command('encrypt')
    .summary('encrypt an ECG into a request')
    .description(
      'Prepare one segment of an ECG and encrypt it into a request for the server. Which request it was ' +
        'is noted in DIR/requests.json, for decrypt: its digest, file and time, the recording and the ' +
        'place of the segment in it; nothing of the signal.',
    )
    .requiredOption('-k, --keys <dir>', 'folder that keygen made')
    .requiredOption('-o, --out <file>', 'the request to write');
  ecgOptions(command)
    .addOption(jsonOption())
    .action((path: string | undefined, options: EncryptOptions) => encrypt(path, options, io));
  examples(command, [
    'blindbeat encrypt record.hea --keys my.keys --out request.bin',
    'blindbeat encrypt holter.csv --start 600 --keys my.keys --out request.bin',
    'blindbeat encrypt --rhythm af --keys my.keys --out request.bin',
  ]);
}

async function encrypt(path: string | undefined, options: EncryptOptions, io: Io): Promise<void> {
  const { out } = options;
  if (path === undefined && options.rhythm === undefined) {
    throw new BlindbeatError('USAGE', 'which ECG? Give a file, or --rhythm for a synthetic one');
  }
  const ours = [...Object.values(keyFiles(options.keys)), requestLogFile(options.keys)];
  for (const file of [path, ...ours]) requireDistinct(out, file);
  const { manifest, secret } = await readKeyFolder(options.keys, io);
  using _secret = secret;
  const log = await RequestLog.read(options.keys, secret.keyId);
  const input = await readEcg(path, options, manifest.preprocessing);
  const { startSeconds, seconds, warnings } = input.segment;
  warn(io, warnings);
  using client = await Client.open(manifest);
  const times: { encrypt?: number } = {};
  const request = await timed(times, 'encrypt', () => client.encrypt(secret, input.segment.samples));
  const digest = requestDigest(request);
  log.note({
    digest,
    file: shortName(out),
    time: new Date().toISOString(),
    recording: shortName(input.recording.name),
    startSeconds,
    seconds,
  });
  await using files = new OutputFiles();
  await log.write(files);
  await files.write(out, request);
  await files.commit();
  if (options.json) {
    printJson(io, {
      model: manifest.model.name,
      keyId: secret.keyId,
      path: out,
      bytes: request.length,
      digest,
      ms: times.encrypt,
      segment: { startSeconds, seconds },
      warnings,
    });
  } else {
    printLines(io.stdout, [
      `${describeEcg(input)}`,
      `${out}: send it to the server (${formatBytes(request.length)})`,
    ]);
  }
}
