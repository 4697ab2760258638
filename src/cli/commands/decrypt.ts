import type { Command } from 'commander';
import { Client } from '../../ckks/client.ts';
import { timed } from '../../measure/stages.ts';
import { inFile, readContainerFile } from '../files/input.ts';
import { readKeyFolder } from '../files/key-folder.ts';
import { exactOption, examples, jsonOption } from '../options.ts';
import { coloursOf, type Io, printable, printJson, printLines } from '../terminal/io.ts';
import { evidenceLines, resultJson, resultLines } from '../terminal/result.ts';

interface DecryptOptions {
  keys: string;
  exact?: boolean;
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
    .addOption(exactOption())
    .addOption(jsonOption())
    .action((reply: string, options: DecryptOptions) => decrypt(reply, options, io));
  examples(command, [
    'blindbeat decrypt reply.bin --keys my.keys',
    'blindbeat decrypt reply.bin --keys my.keys --json | jq .class',
  ]).addHelpText(
    'after',
    `
Scores are rounded: the noise in their last digits depends on the secret key.
If no class can be named (a score beyond the limit that the model was validated
for), the exit code is 9.`,
  );
}

async function decrypt(path: string, options: DecryptOptions, io: Io): Promise<void> {
  const { manifest, secret } = await readKeyFolder(options.keys, io);
  using _secret = secret;
  const reply = await readContainerFile(path, 'reply', manifest, secret.keyId);
  using client = await Client.open(manifest);
  const times: { decrypt?: number } = {};
  const decrypted = await timed(times, 'decrypt', () => inFile(path, () => client.decrypt(secret, reply)));
  if (options.json) {
    const result = resultJson(decrypted, manifest, options.exact);
    printJson(io, { model: manifest.model.name, ...result, ms: times.decrypt });
    return;
  }
  const colours = coloursOf(io.stdout);
  printLines(io.stdout, [
    '',
    `  ${colours.bold(printable(manifest.model.name))}`,
    '',
    ...evidenceLines(decrypted, manifest, colours),
    ...resultLines(decrypted, manifest, colours, options.exact),
  ]);
}
