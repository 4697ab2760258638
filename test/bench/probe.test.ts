import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { probe } from '../../bench/probe/probe.ts';
import { Child } from '../../bench/shared/child.ts';
import { saveSmallModel, temporaryFolder } from '../cli/helpers.ts';

const folder = temporaryFolder();

test('when a release is probed then every figure of both roles is there', async () => {
  const model = await saveSmallModel(join(folder, 'small'), { channels: [4] });
  const root = join(import.meta.dirname, '../..');
  const [{ server, client }, other] = await probe(
    [
      { root, model, threads: 1 },
      { root, model, threads: 1, rhythm: 'af' },
    ],
    2,
  );
  for (const figure of [
    server.openMs,
    server.loadKeysMs,
    server.firstMs,
    server.loadedKeys,
    server.peakMemory,
  ])
    expect(figure).toBeGreaterThan(0);
  for (const figure of [
    client.readyMs,
    client.keygenMs,
    client.encryptMs,
    client.decryptMs,
    client.peakMemory,
  ])
    expect(figure).toBeGreaterThan(0);
  expect([server.threads, server.kernels, server.keySwitching]).toEqual([1, expect.any(String), 'grouped']);
  expect(server.runs.map(({ stages }) => stages.map(({ name }) => name))).toEqual(
    new Array(2).fill(['block 1', 'square 1', 'dense', 'mean over time']),
  );
  expect(client.bytes.evaluationKeys).toBeGreaterThan(client.bytes.request);
  expect(['N', 'A', 'O', '~']).toContain(client.class);
  expect(client.scores).toHaveLength(4);
  expect(other.client.scores).not.toEqual(client.scores);
});

/** A process that runs `code`. */
async function childThat(code: string): Promise<Child> {
  const path = join(folder, `${Math.random()}.mjs`);
  await writeFile(path, code);
  return new Child(path, [], 'the server');
}

test('when a process ends without an answer then who waits is told', async () => {
  using child = await childThat('process.exit(3)');
  await expect(child.answer()).rejects.toThrow('the server ended before it answered (exit code 3)');
  await expect(child.answer()).rejects.toThrow('exit code 3');
});

test('when answers come before they are asked for then they wait in their order', async () => {
  using child = await childThat(
    "process.send(1); process.on('message', (m) => { process.send(2); process.send(m); })",
  );
  expect([await child.ask('three'), await child.answer(), await child.answer()]).toEqual([1, 2, 'three']);
});
