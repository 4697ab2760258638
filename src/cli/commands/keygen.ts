import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { Client } from '../../ckks/client.ts';
import { keyCount } from '../../ckks/keyswitch/key-set.ts';
import { compile } from '../../ckks/planner/compile.ts';
import { type SecretKey, writeSecretKey } from '../../ckks/secret/secret-key.ts';
import { requireKeyBytes, USUAL_KEY_BYTES, wireSizes } from '../../ckks/wire/file-sizes.ts';
import type { ParsedManifest } from '../../ckks/wire/manifest.ts';
import { keyFiles, writeKeyFiles } from '../../client/key-storage/key-folder.ts';
import { BlindbeatError } from '../../errors.ts';
import { removeLeftovers } from '../../files/leftovers.ts';
import { makeFolder, OutputFiles } from '../../files/output.ts';
import { formatBytes, formatMs } from '../../measure/format.ts';
import type { StartTask } from '../../measure/progress.ts';
import { roundMs } from '../../measure/stages.ts';
import { loadModel } from '../../model/files.ts';
import { readManifest } from '../files/input.ts';
import { compileOptions, examples, jsonOption, number, type PlanChoice, planOptions } from '../options.ts';
import { interruptible } from '../terminal/interrupt.ts';
import { type Io, printJson, printLines, warn } from '../terminal/io.ts';
import { progressOn } from '../terminal/progress.ts';

interface KeygenOptions extends PlanChoice {
  out: string;
  manifest?: string;
  force?: boolean;
  allowKeyBytes?: number;
  json?: boolean;
}

/** `blindbeat keygen`: a client's keys. */
export function addKeygen(program: Command, io: Io): void {
  const command = program
    .command('keygen')
    .summary("make a client's keys")
    .description(
      "Make a client's keys for one model: DIR/secret.key (yours alone: it decrypts), " +
        'DIR/evaluation.keys (for the server: it computes with them and learns nothing) and ' +
        'DIR/manifest.json (what encrypt and decrypt need).',
    )
    .requiredOption('-o, --out <dir>', 'folder for the three files');
  planOptions(command, io, { conflict: 'manifest' })
    .option('--manifest <file>', "the server's manifest, for a client that has no model")
    .option('--force', 'replace keys that are there; what was encrypted with them can never be decrypted')
    .option(
      '--allow-key-bytes <MB>',
      `make evaluation keys of so many megabytes (default: ${USUAL_KEY_BYTES / 1e6})`,
      number(1),
    )
    .addOption(jsonOption())
    .action((options: KeygenOptions) => interruptible((signal) => keygen(options, io, signal)));
  examples(command, [
    'blindbeat keygen --out my.keys',
    'blindbeat keygen --manifest manifest.json --out my.keys',
    'blindbeat keygen --out my.keys --outputs scores+map --force',
  ]);
}

async function keygen(options: KeygenOptions, io: Io, signal: AbortSignal): Promise<void> {
  const files = keyFiles(options.out);
  await tidy(options.out, io);
  if (!options.force) requireNone(files, options.manifest);
  const manifest = await manifestOf(options);
  const { allowKeyBytes } = options;
  const maxKeyBytes = allowKeyBytes === undefined ? USUAL_KEY_BYTES : 1e6 * allowKeyBytes;
  const bytes = wireSizes(manifest);
  const megabytes = Math.ceil(bytes.evaluationKeys / 1e6);
  requireKeyBytes(manifest, maxKeyBytes, `say so (--allow-key-bytes ${megabytes})`);
  await makeFolder(options.out);
  const started = performance.now();
  using client = await Client.open(manifest, { maxKeyBytes });
  const start = progressOn(io, options.json);
  using secret = makeSecretKey(client, start);
  await using output = new OutputFiles();
  const secretKey = writeSecretKey(secret, manifest);
  try {
    const evaluationKeys = makeEvaluationKeys(client, secret, start);
    await writeKeyFiles(output, options.out, manifest, { secretKey, evaluationKeys }, signal);
  } finally {
    secretKey.fill(0);
  }
  if (!options.force) requireNone(files, options.manifest);
  await output.commit();
  const ms = roundMs(performance.now() - started);
  if (options.json) {
    printJson(io, {
      model: manifest.model.name,
      keyId: secret.keyId,
      files,
      bytes: { secretKey: bytes.secretKey, evaluationKeys: bytes.evaluationKeys },
      ms,
    });
    return;
  }
  printLines(io.stdout, [
    `${files.secretKey}: keep it to yourself, it decrypts (${formatBytes(bytes.secretKey)})`,
    `${files.evaluationKeys}: send it to the server, once (${formatBytes(bytes.evaluationKeys)})`,
    `${files.manifest}: what encrypt and decrypt need`,
    `made in ${formatMs(ms)}`,
  ]);
}

/** A run that was killed could not remove its files; one of them may be a secret key that nobody uses. */
async function tidy(folder: string, io: Io): Promise<void> {
  const { removed, kept } = await removeLeftovers(folder);
  warn(
    io,
    removed.map((path) => `${path} was left by a run that was killed: removed`),
    'note',
  );
  warn(
    io,
    kept.map(({ path, why }) => `${path} looks like a file of a run that was killed, but stays: ${why}`),
  );
}

function makeSecretKey(client: Client, start: StartTask): SecretKey {
  using _task = start('making keys', { total: 1 });
  return client.createSecretKey();
}

function* makeEvaluationKeys(client: Client, secret: SecretKey, start: StartTask): Generator<Uint8Array> {
  using task = start('making evaluation keys', { total: keyCount(client.manifest.keys) });
  yield* client.evaluationKeys(secret, (done) => task.update(done));
}

async function manifestOf({ manifest, model, ...options }: KeygenOptions): Promise<ParsedManifest> {
  if (manifest !== undefined) return readManifest(manifest);
  return compile(await loadModel(model), await compileOptions(options)).plan.manifest;
}

/** The manifest that was given may lie where the keys will. */
function requireNone(files: Record<string, string>, given: string | undefined): void {
  const found = Object.values(files).filter(
    (file) => existsSync(file) && !(given !== undefined && resolve(given) === resolve(file)),
  );
  if (found.length === 0) return;
  throw new BlindbeatError(
    'FILE',
    `there is already ${found.join(', ')}: choose another folder, or --force to replace them (what was ` +
      'encrypted with them can then never be decrypted)',
  );
}
