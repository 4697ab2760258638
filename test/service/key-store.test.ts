import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../src/ckks/planner/compile.ts';
import type { ParsedManifest } from '../../src/ckks/wire/manifest.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { KeyStore, type KeyStoreLimits, type Upload } from '../../src/service/key-store.ts';
import { randomModel } from '../helpers/random-model.ts';
import { BUDGET, MODEL, makePerson, type Person, temporaryFolder } from './http/helpers.ts';

const { manifest } = compile(MODEL, BUDGET).plan;
const other = compile(randomModel({ samples: 64, channels: [2], kernel: 3, seed: 6 }), BUDGET).plan.manifest;
const DAY = 24 * 3_600_000;
let person: Person;
let keys: Uint8Array;
let hash: string;

beforeAll(async () => {
  person = await makePerson(manifest);
  ({ keys, hash } = person);
});
afterAll(() => person[Symbol.dispose]());

function refused(code: ErrorCode, words: RegExp, more: object = {}) {
  return expect.objectContaining({ code, message: expect.stringMatching(words), ...more });
}

function upload(...pieces: Uint8Array[]): Upload {
  return {
    pieces: (async function* () {
      yield* pieces;
    })(),
    stop() {},
  };
}

/** An upload that sends this and then hangs until it is stopped. */
function hanging(piece: Uint8Array): Upload {
  const { promise, reject } = Promise.withResolvers<never>();
  promise.catch(() => {});
  return {
    pieces: (async function* () {
      yield piece;
      await promise;
    })(),
    stop: reject,
  };
}

async function opened(limits: Partial<KeyStoreLimits> = {}, folder = temporaryFolder()) {
  const store = await KeyStore.open(folder, limits);
  const files = (owner: string) => (existsSync(join(folder, owner)) ? readdirSync(join(folder, owner)) : []);
  return { store, folder, files };
}

function send(store: KeyStore, bytes = keys, { owner = 'a', name = hash, from = 0, plan = manifest } = {}) {
  return store.receive(owner, name, plan, from, upload(bytes));
}

/** Another file of the same client's keys: one that nobody made, with a right checksum and a hash of its own. */
function variant(seed: number): { bytes: Uint8Array; name: string } {
  const bytes = keys.slice();
  bytes[bytes.length - 40] ^= seed; // in the body
  bytes.set(createHash('sha256').update(bytes.subarray(0, -32)).digest(), bytes.length - 32);
  return { bytes, name: createHash('sha256').update(bytes).digest('hex') };
}

describe('keys that arrive', () => {
  test('when a file is whole, then it is kept as it came, for its owner alone', async () => {
    const { store, folder, files } = await opened();
    const stored = await send(store);
    expect(stored).toMatchObject({ hash, size: keys.length, received: keys.length, complete: true });
    expect(files('a')).toEqual([`${hash}.keys`]);
    using lease = await store.lease('a', hash, manifest);
    expect(lease.keyId).toBe(person.secret.keyId);
    expect(Buffer.compare(readFileSync(lease.path), keys)).toBe(0);
    expect(lease.path).toBe(join(folder, 'a', `${hash}.keys`));
    expect(() => store.find('b', hash, manifest)).toThrow(refused('KEYS_NOT_FOUND', /send them/));
    expect(() => store.find('a', hash, other)).toThrow(refused('MISMATCH', /other|plan/));
    expect((await send(store, new Uint8Array())).complete).toBe(true); // it is here: nothing is read
  });

  test('when it comes in parts, with a restart between, then the parts are one file', async () => {
    const { store, folder, files } = await opened();
    const cut = [9000, 500_000, 500_001];
    expect(await send(store, keys.subarray(0, cut[0]))).toMatchObject({ received: cut[0], complete: false });
    await send(store, keys.subarray(cut[0], cut[1]), { from: cut[0] });
    await expect(store.lease('a', hash, manifest)).rejects.toEqual(refused('KEYS_NOT_FOUND', /send/));
    const { store: again } = await opened({}, folder);
    expect(again.find('a', hash, manifest)).toMatchObject({
      received: cut[1],
      size: keys.length,
      complete: false,
    });
    await send(again, keys.subarray(cut[1], cut[2]), { from: cut[1] });
    expect(await send(again, keys.subarray(cut[2]), { from: cut[2] })).toMatchObject({ complete: true });
    expect(files('a')).toEqual([`${hash}.keys`]);
    const { store: later } = await opened({}, folder);
    expect(later.find('a', hash, manifest)).toMatchObject({ complete: true });
    expect((await later.lease('a', hash, manifest)).keyId).toBe(person.secret.keyId);
  });

  test('when a part goes on at the wrong place, then the right one is told', async () => {
    const { store } = await opened();
    await send(store, keys.subarray(0, 10_000));
    for (const from of [1, 9999, 10_001])
      await expect(send(store, keys.subarray(from), { from })).rejects.toEqual(
        refused('MISMATCH', /10000 bytes/, { received: 10_000 }),
      );
    await expect(send(store, keys.subarray(5), { from: 5, owner: 'b' })).rejects.toEqual(
      refused('MISMATCH', /^0 bytes/, { received: 0 }),
    );
    expect((await send(store)).complete).toBe(true); // from the start again
  });

  test('when the connection breaks, then what came stays', async () => {
    const { store } = await opened();
    const broken = hanging(keys.subarray(0, 300_000));
    const attempt = store.receive('a', hash, manifest, 0, broken);
    attempt.catch(() => {});
    while (store.find('a', hash, manifest).received < 300_000) await wait(1);
    broken.stop(new Error('the line is dead'));
    await expect(attempt).rejects.toThrow('the line is dead');
    expect(store.find('a', hash, manifest).received).toBe(300_000);
    await send(store, keys.subarray(300_000), { from: 300_000 });
    expect(store.find('a', hash, manifest).complete).toBe(true);
  });

  test('when a newer upload comes, then one that hangs gives way', async () => {
    const { store } = await opened();
    const old = store.receive('a', hash, manifest, 0, hanging(keys.subarray(0, 50_000)));
    const refusal = expect(old).rejects.toEqual(refused('INTERRUPTED', /newer upload/));
    const newer = [1, 2, 3].map(() => send(store));
    await refusal;
    const results = await Promise.allSettled(newer);
    expect(results.some(({ status }) => status === 'fulfilled')).toBe(true);
    expect(store.find('a', hash, manifest).complete).toBe(true);
  });
});

describe('what is refused', () => {
  const wrong = (change: (bytes: Uint8Array) => Uint8Array) => change(keys.slice());
  const flipped = (at: number) => (bytes: Uint8Array) => {
    bytes[at] ^= 1;
    return bytes;
  };

  test.each<[string, (bytes: Uint8Array) => Uint8Array, ErrorCode, RegExp]>([
    ['garbage', () => randomBytes(20_000), 'FORMAT', /does not start like one/],
    ['nothing', () => new Uint8Array(), 'FORMAT', /does not start/],
    ['a header that is cut off', (bytes) => bytes.subarray(0, 60), 'FORMAT', /cut off in its header/],
    ['another kind of file', (bytes) => flipped(10)(bytes), 'FORMAT', /this is a secret key/],
    ['a changed byte', (bytes) => flipped(100_000)(bytes), 'FORMAT', /SHA-256/],
    ['a changed checksum', (bytes) => flipped(bytes.length - 1)(bytes), 'FORMAT', /SHA-256/],
    ['more bytes', (bytes) => Buffer.concat([bytes, new Uint8Array(1)]), 'TOO_LARGE', /more bytes/],
  ])('when %s comes, then it is refused and nothing of it stays', async (_, change, code, words) => {
    const { store, files } = await opened();
    await expect(send(store, wrong(change))).rejects.toEqual(refused(code, words));
    expect(files('a')).toEqual([]);
    expect(store.load).toEqual({ files: 0, bytes: 0 });
    await send(store);
    expect(files('a')).toEqual([`${hash}.keys`]);
  });

  test('when keys of another plan or with a wrong checksum of their own come, then they are refused', async () => {
    const { store, files } = await opened();
    await expect(send(store, keys, { plan: other })).rejects.toEqual(refused('MISMATCH', /made for plan/));
    const damaged = keys.slice();
    damaged[5000] ^= 1; // the container's checksum does not fit, the address does
    const name = createHash('sha256').update(damaged).digest('hex');
    await expect(send(store, damaged, { name })).rejects.toEqual(refused('FORMAT', /checksum/));
    expect(files('a')).toEqual([]);
  });

  test('when an owner or all have their share, then more is refused until some is deleted', async () => {
    const { store } = await opened({ quota: 2.5 * keys.length, room: 3.5 * keys.length });
    const [one, two] = [variant(1), variant(2)];
    await send(store);
    await send(store, one.bytes.subarray(0, 10_000), { name: one.name }); // a part counts as the whole
    await expect(send(store, two.bytes, { name: two.name })).rejects.toEqual(
      refused('TOO_LARGE', /delete some/),
    );
    await send(store, keys, { owner: 'b' });
    await expect(send(store, keys, { owner: 'c' })).rejects.toEqual(refused('ENVIRONMENT', /no room/));
    expect(await store.remove('a', one.name)).toBe(true);
    await send(store, two.bytes, { name: two.name });
    await expect(send(store, keys, { owner: 'c' })).rejects.toEqual(refused('ENVIRONMENT', /no room/));
  });

  test('when the disk refuses, then it is the server that lacks something', async () => {
    const { store, folder } = await opened();
    writeFileSync(join(folder, 'a'), ''); // where the owner's folder should be
    await expect(send(store)).rejects.toEqual(refused('ENVIRONMENT', /cannot store/));
    expect(store.load).toEqual({ files: 0, bytes: 0 });
  });
});

describe('keys that go', () => {
  test('when keys are in use, then they are deleted when they come back, and at once for everybody else', async () => {
    const { store, files } = await opened();
    await send(store);
    const lease = await store.lease('a', hash, manifest);
    let removed = false;
    const removing = store.remove('a', hash).then(() => {
      removed = true;
    });
    expect(() => store.find('a', hash, manifest)).toThrow(refused('KEYS_NOT_FOUND', /send/));
    const again = send(store);
    await wait(20);
    expect([removed, files('a')]).toEqual([false, [`${hash}.keys`]]);
    lease[Symbol.dispose]();
    lease[Symbol.dispose]();
    await removing;
    expect((await again).complete).toBe(true);
    expect(files('a')).toEqual([`${hash}.keys`]);
    expect(await store.remove('b', hash)).toBe(false);
    expect(await store.remove('a', hash)).toBe(true);
    expect(files('a')).toEqual([]);
  });

  test('when keys are deleted while they arrive, then the upload ends', async () => {
    const { store, files } = await opened();
    const attempt = store.receive('a', hash, manifest, 0, hanging(keys.subarray(0, 50_000)));
    const refusal = expect(attempt).rejects.toEqual(refused('KEYS_NOT_FOUND', /deleted while/));
    expect(await store.remove('a', hash)).toBe(true);
    await refusal;
    expect(files('a')).toEqual([]);
  });

  test('when nobody used keys for long, or their owner is gone, then they go', async () => {
    const { store, folder, files } = await opened();
    const one = variant(1);
    await send(store);
    await send(store, one.bytes.subarray(0, 10_000), { name: one.name });
    await send(store, keys, { owner: 'b' });
    const age = (name: string, days: number) => {
      const then = new Date(Date.now() - days * DAY);
      utimesSync(join(folder, 'a', name), then, then);
    };
    age(`${hash}.keys`, 29);
    age(`${one.name}.part`, 2);
    const { store: later } = await opened({}, folder);
    expect(() => later.find('a', one.name, manifest)).toThrow(refused('KEYS_NOT_FOUND', /send/));
    expect(await later.sweep(() => true)).toEqual([one.name]);
    const { expires } = later.find('a', hash, manifest);
    expect(Math.round((expires.getTime() - Date.now()) / DAY)).toBe(1);
    (await later.lease('a', hash, manifest))[Symbol.dispose](); // used: thirty days from now, and on the disk
    const { store: last } = await opened({}, folder);
    expect(Math.round((last.find('a', hash, manifest).expires.getTime() - Date.now()) / DAY)).toBe(30);
    expect(await last.sweep((owner) => owner === 'a')).toEqual([hash]);
    expect([files('a'), files('b')]).toEqual([[`${hash}.keys`], []]);
  });

  test('when a folder has files of others or damaged ones, then those stay and these go', async () => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'a'));
    const mine: ParsedManifest = manifest;
    const names = ['README', `${hash}.part`, `${'0'.repeat(64)}.keys`, `${'1'.repeat(64)}.part`];
    writeFileSync(join(folder, 'a', names[0]), 'mine');
    writeFileSync(join(folder, 'a', names[1]), keys.subarray(0, 9000));
    writeFileSync(join(folder, 'a', names[2]), keys.subarray(0, 9000)); // complete, it says
    writeFileSync(join(folder, 'a', names[3]), 'rubbish');
    writeFileSync(join(folder, 'note'), 'mine');
    const { store, files } = await opened({}, folder);
    expect(files('a').sort()).toEqual([names[0], names[1]].sort());
    expect(store.find('a', hash, mine).received).toBe(9000);
    expect(store.load).toEqual({ files: 1, bytes: 9000 });
  });
});
