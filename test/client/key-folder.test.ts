import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { copyFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Client } from '../../src/ckks/client.ts';
import { compile } from '../../src/ckks/planner/compile.ts';
import { readSecretKey, writeSecretKey } from '../../src/ckks/secret/secret-key.ts';
import { KeyFolder, keyFiles } from '../../src/client/key-storage/key-folder.ts';
import { temporaryName } from '../../src/files/leftovers.ts';
import { randomModel } from '../helpers/random-model.ts';

const { manifest } = compile(randomModel({ samples: 256, channels: [4], kernel: 3 })).plan;
const folder = mkdtempSync(join(tmpdir(), 'blindbeat-keys-'));
const at = (name: string) => join(folder, name);
let client: Client;

beforeAll(async () => {
  client = await Client.open(manifest);
});

afterAll(async () => {
  client[Symbol.dispose]();
  await rm(folder, { recursive: true });
});

async function save(storage: KeyFolder, signal?: AbortSignal): Promise<string> {
  using secret = client.createSecretKey();
  const { keyId } = secret;
  const secretKey = writeSecretKey(secret, manifest);
  await storage.save(manifest, { keyId, secretKey, evaluationKeys: client.evaluationKeys(secret) }, signal);
  return keyId;
}

describe('KeyFolder', () => {
  test('when keys are kept then they come back, and any part of the file under its hash', async () => {
    const storage = new KeyFolder(({ planHash }) => join(folder, 'per-plan', planHash));
    expect(await storage.load(manifest)).toBeNull();
    const keyId = await save(storage);
    const { secretKey, evaluationKeys } = (await storage.load(manifest))!;
    using secret = readSecretKey(secretKey, manifest);
    expect(secret.keyId).toBe(keyId);
    const file = readFileSync(keyFiles(join(folder, 'per-plan', manifest.planHash)).evaluationKeys);
    const hash = createHash('sha256').update(file).digest('hex');
    expect([evaluationKeys.hash, evaluationKeys.size]).toEqual([hash, file.length]);
    for (const [from, to] of [
      [0, file.length],
      [1, 2],
      [file.length - 5, file.length],
    ])
      expect(Buffer.from(await evaluationKeys.slice(from, to))).toEqual(file.subarray(from, to));
  });

  test('when there are keys then they are not replaced', async () => {
    const storage = new KeyFolder(at('twice'));
    const keyId = await save(storage);
    await expect(save(storage)).rejects.toMatchObject({ code: 'FILE' });
    const { secretKey } = (await storage.load(manifest))!;
    using secret = readSecretKey(secretKey, manifest);
    expect(secret.keyId).toBe(keyId);
    expect(readdirSync(at('twice')).sort()).toEqual(['evaluation.keys', 'manifest.json', 'secret.key']);
  });

  test('when it is given up then nothing is left', async () => {
    const storage = new KeyFolder(at('given-up'));
    await expect(save(storage, AbortSignal.abort())).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(readdirSync(at('given-up'))).toEqual([]);
  });

  test('when an earlier run was killed then the secret key that it left is removed, and that is told', async () => {
    const { pid } = spawnSync(process.execPath, ['--version']);
    mkdirSync(at('killed'));
    const left = join(at('killed'), temporaryName('secret.key', '0123abcd', pid));
    writeFileSync(left, 'secret');
    utimesSync(left, 0, 0);
    const told: string[] = [];
    await save(new KeyFolder(at('killed'), (sentence) => told.push(sentence)));
    expect([existsSync(left), told]).toEqual([false, [`${left} was left by a run that was killed: removed`]]);
  });

  test('when the file changes after it was looked at then no part of it is given', async () => {
    const storage = new KeyFolder(at('changed'));
    await save(storage);
    const { evaluationKeys } = (await storage.load(manifest))!;
    truncateSync(keyFiles(at('changed')).evaluationKeys, evaluationKeys.size - 1);
    await expect(evaluationKeys.slice(0, 10)).rejects.toThrow(/changed while it was read/);
    await expect(storage.load(manifest)).rejects.toMatchObject({ code: 'FORMAT' });
  });

  test('when the two files are of different key pairs then they are refused', async () => {
    const storages = [new KeyFolder(at('one')), new KeyFolder(at('other'))];
    for (const storage of storages) await save(storage);
    await rm(keyFiles(at('one')).secretKey);
    await copyFile(keyFiles(at('other')).secretKey, keyFiles(at('one')).secretKey);
    await expect(storages[0].load(manifest)).rejects.toMatchObject({ code: 'MISMATCH' });
  });

  test('when keys are deleted then their files are gone, and to delete none is no error', async () => {
    const storage = new KeyFolder(at('deleted'));
    await save(storage);
    await storage.delete(manifest);
    await storage.delete(manifest);
    expect(existsSync(keyFiles(at('deleted')).secretKey)).toBe(false);
    expect(await storage.load(manifest)).toBeNull();
  });
});
