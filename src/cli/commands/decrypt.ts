import type { Command } from 'commander';
import { Client } from '../../ckks/client.ts';
import { readHeader } from '../../ckks/wire/container.ts';
import type { ParsedManifest } from '../../ckks/wire/manifest.ts';
import { requestDigest } from '../../ckks/wire/reply.ts';
import { readContainerFile } from '../../client/container-files.ts';
import { RequestLog, type RequestNote } from '../../client/request-log.ts';
import { hexDigest } from '../../digest.ts';
import { BlindbeatError } from '../../errors.ts';
import { inFile } from '../../files/input.ts';
import { timed } from '../../measure/stages.ts';
import { readKeyFolder } from '../files/key-folder.ts';
import { discloseOption, exactOption, examples, jsonOption } from '../options.ts';
import { coloursOf, type Io, printable, printJson, printLines, warn } from '../terminal/io.ts';
import {
  disclosureJson,
  disclosureLines,
  evidenceLines,
  resultJson,
  resultLines,
} from '../terminal/result.ts';

interface DecryptOptions {
  keys: string;
  request?: string;
  exact?: boolean;
  disclose?: boolean;
  json?: boolean;
}

/** `blindbeat decrypt`: what the server's reply says. */
export function addDecrypt(program: Command, io: Io): void {
  const command = program
    .command('decrypt')
    .summary("decrypt the server's reply and name the class")
    .description("Decrypt the server's reply: class, scores and, when planned, where the evidence is.")
    .argument('<reply>', 'file that infer made')
    .requiredOption('-k, --keys <dir>', 'folder that keygen made')
    .option('--request <file>', 'the request that it answers (default: the one noted in DIR/requests.json)')
    .addOption(exactOption())
    .addOption(discloseOption())
    .addOption(jsonOption())
    .action((reply: string, options: DecryptOptions) => decrypt(reply, options, io));
  examples(command, [
    'blindbeat decrypt reply.bin --keys my.keys',
    'blindbeat decrypt reply.bin --keys my.keys --request request.bin',
    'blindbeat decrypt reply.bin --keys my.keys --json | jq .class',
    'blindbeat decrypt reply.bin --keys my.keys --disclose',
  ]).addHelpText(
    'after',
    `
Scores are for you alone. Whoever has them beside the replies works out the
secret key, rounded or not: report with --disclose, and read docs/attacks.md.
A reply says which request it answers; encrypt noted that request in the folder
of the keys. One that is not there is refused: it is old, or not yours.
If no class can be named (a score beyond the limit that the model was validated
for, or a reply that no evaluation gives), the exit code is 9.`,
  );
}

async function decrypt(path: string, options: DecryptOptions, io: Io): Promise<void> {
  const { manifest, secret } = await readKeyFolder(options.keys, io);
  using _secret = secret;
  const reply = await readContainerFile(path, 'reply', manifest, secret.keyId);
  const log = await RequestLog.read(options.keys, secret.keyId);
  const answered = await answeredRequest(path, reply, options.request, {
    log,
    manifest,
    keyId: secret.keyId,
  });
  using client = await Client.open(manifest);
  const times: { decrypt?: number } = {};
  const decrypted = await timed(times, 'decrypt', () =>
    inFile(path, () => client.decrypt(secret, reply, answered.digest)),
  );
  const before = answered.note?.reply;
  await noteReply(log, answered, reply, io);
  if (options.disclose) {
    if (options.json) printJson(io, { model: manifest.model.name, ...disclosureJson(decrypted, manifest) });
    else printLines(io.stdout, ['', ...disclosureLines(decrypted, manifest, coloursOf(io.stdout))]);
    return;
  }
  if (options.json) {
    const { reply: _, ...request } = answered.note ?? { digest: answered.digest, file: options.request };
    const result = resultJson(decrypted, manifest, options.exact);
    printJson(io, {
      model: manifest.model.name,
      request: { ...request, ...(before && { decryptedBefore: before.time }) },
      ...result,
      ms: times.decrypt,
    });
    return;
  }
  const colours = coloursOf(io.stdout);
  printLines(io.stdout, [
    '',
    `  ${colours.bold(printable(manifest.model.name))}`,
    `  ${colours.dim(`answers ${describeRequest(answered, options.request)}`)}`,
    '',
    ...evidenceLines(decrypted, manifest, colours),
    ...resultLines(decrypted, manifest, colours, options.exact),
  ]);
}

/** The request that must be the one answered: the user's file, or one that was noted. */
interface Answered {
  digest: string;
  note?: RequestNote;
}

/**
 * Which request a reply answers: what `--request` names, or what its header says if that was noted.
 *
 * @throws BlindbeatError FILE, FORMAT, or MISMATCH for a request that nobody here made
 */
async function answeredRequest(
  path: string,
  reply: Uint8Array,
  requestFile: string | undefined,
  { log, manifest, keyId }: { log: RequestLog; manifest: ParsedManifest; keyId: string },
): Promise<Answered> {
  if (requestFile !== undefined) {
    const request = await readContainerFile(requestFile, 'request', manifest, keyId);
    const digest = requestDigest(request);
    return { digest, note: log.find(digest) };
  }
  const { header } = await inFile(path, () => readHeader(reply, 'reply', {}));
  const note = log.find(header.request);
  if (note) return { digest: note.digest, note };
  throw new BlindbeatError(
    'MISMATCH',
    `${path}: the reply answers request ${header.request.slice(0, 12)}, which is not in ${log.path}: it is ` +
      "an old reply, or another folder's; if you have the request, name it with --request <file>",
  );
}

/** Notes that the reply was decrypted, and says so if one was before. */
async function noteReply(log: RequestLog, { note }: Answered, reply: Uint8Array, io: Io): Promise<void> {
  if (!note) return;
  const digest = hexDigest(reply);
  const { reply: before } = note;
  if (before)
    warn(
      io,
      [
        `${before.digest === digest ? 'this' : 'another'} reply to the request was decrypted on ${before.time}`,
      ],
      'note',
    );
  log.noteReply(note, { digest, time: new Date().toISOString() });
  await log.write().catch((error) => {
    if (!(error instanceof BlindbeatError)) throw error;
    warn(io, [`that the reply was decrypted is not noted: ${error.message}`]);
  });
}

/** "ecg.request · A00001 · 30.0 s from 12.5 s · 2026-01-31T12:00:00.000Z" */
function describeRequest({ note, digest }: Answered, file = digest): string {
  if (!note) return printable(file);
  const { recording, startSeconds, seconds, time } = note;
  const start = startSeconds > 0 ? ` from ${startSeconds.toFixed(1)} s` : '';
  return printable([note.file, recording, `${seconds.toFixed(1)} s${start}`, time].join(' · '));
}
