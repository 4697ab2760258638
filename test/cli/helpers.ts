import { mkdtempSync, readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect } from 'vitest';
import { runCli } from '../../src/cli/program.ts';
import type { Output } from '../../src/cli/terminal/io.ts';
import { saveModel } from '../../src/model/files.ts';
import { type RandomModelOptions, randomModel } from '../helpers/random-model.ts';

/** Runs a command in this process, as a shell without a terminal would. */
export async function blindbeat(...args: string[]) {
  const stdout = collect();
  const stderr = collect();
  const code = await runCli(args, { stdout, stderr });
  return { code, stdout: stdout.text, stderr: stderr.text };
}

/** As `blindbeat`, for commands with --json: the object that they print. */
export async function blindbeatJson(...args: string[]) {
  const result = await blindbeat(...args, '--json');
  return { ...result, json: JSON.parse(result.stdout) };
}

export class Collected implements Output {
  text = '';
  isTTY = false;
  columns = 80;

  write(text: string): boolean {
    this.text += text;
    return true;
  }
}

function collect(): Collected {
  return new Collected();
}

/** A folder of the test file's own, removed after it. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'blindbeat-cli-'));
  afterAll(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Saves a network so small that a round trip takes seconds: N = 8192. */
export async function saveSmallModel(folder: string, options: RandomModelOptions = {}): Promise<string> {
  await saveModel(randomModel({ samples: 2048, channels: [4, 8], ...options }), folder);
  return folder;
}

/** Expects a folder to have the replies to requests of normal ECGs, the k-th with seed k, each with the model's scores. */
export async function expectReplies(
  replies: string,
  names: string[],
  keys: string,
  model: string,
): Promise<void> {
  expect(readdirSync(replies)).toEqual(names.map((name) => `${name}.reply`));
  for (const [k, name] of names.entries()) {
    const { json } = await blindbeatJson('decrypt', join(replies, `${name}.reply`), '--keys', keys);
    const args = ['--rhythm', 'normal', '--seed', String(k), '--model', model, '--simulate'];
    const here = (await blindbeatJson('classify', ...args)).json;
    for (const [score, value] of Object.entries<number>(here.scores))
      expect(Math.abs(json.scores[score] - value)).toBeLessThan(1e-2);
  }
}
