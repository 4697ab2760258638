import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Client } from '../../src/ckks/client.ts';
import { BACKENDS } from '../../src/ckks/evaluator/backend.ts';
import { WasmMemory } from '../../src/ckks/evaluator/fast/kernels/memory.ts';
import { publicKeySize } from '../../src/ckks/keyswitch/key-size.ts';
import { compile } from '../../src/ckks/planner/compile.ts';
import type { SecretKey } from '../../src/ckks/secret/secret-key.ts';
import { type EvaluationKeys, type FilePieces, Server } from '../../src/ckks/server.ts';
import { concat } from '../../src/ckks/wire/container.ts';
import { requestDigest } from '../../src/ckks/wire/reply.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { forward } from '../../src/model/forward.ts';
import { randomModel } from '../helpers/random-model.ts';

const model = randomModel({ samples: 256, channels: [4], kernel: 3, seed: 5 });
const other = randomModel({ samples: 256, channels: [8], kernel: 3, seed: 6 });
const segment = Float32Array.from({ length: 256 }, (_, i) => 0.7 * Math.sin(i / 5));

/** A file in pieces of `size` bytes, all of them in one buffer that is used again. */
async function* cut(file: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  const room = new Uint8Array(size);
  for (let at = 0; at < file.length; at += size) {
    const piece = file.subarray(at, at + size);
    room.fill(0xff).set(piece);
    yield room.subarray(0, piece.length);
  }
}

async function* failing(file: Uint8Array, after: number, reason: Error): AsyncGenerator<Uint8Array> {
  yield* cut(file.subarray(0, after), 50_000);
  throw reason;
}

function refused(code: ErrorCode, words: RegExp) {
  return expect.objectContaining({ code, message: expect.stringMatching(words) });
}

describe.each(BACKENDS)('keys that arrive in pieces, backend %s', (backend) => {
  let server: Server;
  let client: Client;
  let secret: SecretKey;
  let file: Uint8Array;
  let request: Uint8Array;
  let foreign: Uint8Array;

  beforeAll(async () => {
    server = await Server.open(compile(model, { backend }), { threads: 2 });
    client = await Client.open(server.manifest);
    secret = client.createSecretKey();
    file = concat(client.evaluationKeys(secret));
    request = client.encrypt(secret, segment);
    using stranger = await Client.open(compile(other, { backend }).plan.manifest);
    foreign = concat(stranger.evaluationKeys(stranger.createSecretKey()));
    using keys = server.loadKeys(file);
    server.evaluate(request, keys); // what is made once, is made
  });
  afterAll(() => {
    server[Symbol.dispose]();
    client[Symbol.dispose]();
  });

  const use = () => [server.memoryInUse, server.liveHandles];

  /** The largest difference between decrypted and clear scores. */
  function error(keys: EvaluationKeys): number {
    const { scores } = client.decrypt(secret, server.evaluate(request, keys), requestDigest(request));
    return Math.max(...scores.map((s, c) => Math.abs(s - forward(model, segment).scores[c])));
  }

  const sources: [string, () => FilePieces][] = [
    ['pieces of 7 bytes', () => cut(file, 7)],
    ['pieces of 64 KiB', () => cut(file, 65536)],
    ['one piece', () => [file]],
    ['pieces and nothing between them', () => [file.subarray(0, 9), file.subarray(9, 9), file.subarray(9)]],
    ['the digits that a client makes', () => client.evaluationKeys(secret)],
    ['a stream of Node', () => Readable.from([file.subarray(0, 70_000), file.subarray(70_000)])],
    [
      'a web stream',
      () =>
        new ReadableStream<Uint8Array>({
          start(controller) {
            controller.enqueue(file.subarray(0, 3));
            controller.enqueue(file.subarray(3));
            controller.close();
          },
        }),
    ],
  ];
  test.each(sources)('when they come as %s, then they compute', async (_, source) => {
    const before = use();
    {
      using keys = await server.loadKeys(source(), { keyId: secret.keyId });
      expect(keys.keyId).toBe(secret.keyId);
      expect(keys.bytes).toBe(server.keyBytes);
      expect(error(keys)).toBeLessThan(1e-2);
    }
    expect(use()).toEqual(before);
  });

  test('when they come byte by byte, then every key is counted', async () => {
    const counts: number[][] = [];
    using keys = await server.loadKeys(cut(file, 1), { onKey: (done, total) => counts.push([done, total]) });
    expect(error(keys)).toBeLessThan(1e-2);
    const { relinearisation, galois } = server.manifest.keys;
    const total = relinearisation.length + galois.length + 1;
    expect(counts).toEqual(Array.from({ length: total }, (_, i) => [i + 1, total]));
  });

  /** The last byte of the last rotation key's seed, which any value may have. */
  const seedByte = () => file.length - 32 - publicKeySize(server.manifest.parameters) - 1;
  const flipped = (at: number) => {
    const bytes = file.slice();
    bytes[at] ^= 1;
    return bytes;
  };
  /** Its checksum fits. */
  const ones = () => {
    const content = file.slice(0, -32).fill(0xff, 5000, 5020);
    return concat([content, createHash('sha256').update(content).digest()]);
  };
  const refusals: [string, () => Uint8Array, ErrorCode, RegExp][] = [
    ['is empty', () => new Uint8Array(), 'FORMAT', /does not start like one/],
    ['ends in its header', () => file.slice(0, 60), 'FORMAT', /cut off in its header/],
    ['ends after its header', () => file.slice(0, 200), 'FORMAT', /should have \d+ bytes and has 200:/],
    ['ends before its last byte', () => file.slice(0, -1), 'FORMAT', /should have \d+ bytes and has \d+/],
    ['has a byte more', () => concat([file, Uint8Array.of(1)]), 'FORMAT', /should have \d+ bytes and has/],
    ['is a request', () => request, 'FORMAT', /this is a request/],
    ['is of another plan', () => foreign, 'MISMATCH', /was made for plan/],
    ['has a changed seed', () => flipped(seedByte()), 'FORMAT', /checksum does not fit/],
    ['has a changed checksum', () => flipped(file.length - 1), 'FORMAT', /checksum does not fit/],
    ['has a residue too large', ones, 'FORMAT', /residue is not below its prime/],
  ];
  test.each(refusals)(
    'when the file %s, then it is refused in any form, and nothing is left',
    async (...of) => {
      const [, make, code, words] = of;
      const before = use();
      expect(() => server.loadKeys(make())).toThrow(refused(code, words));
      for (const size of [11, 65536, 1 << 24])
        await expect(server.loadKeys(cut(make(), size))).rejects.toEqual(refused(code, words));
      expect(use()).toEqual(before);
    },
  );

  test('when keys of another pair are asked for, then these are refused by their header', async () => {
    const keyId = '0123'.repeat(8);
    expect(() => server.loadKeys(file, { keyId })).toThrow(refused('MISMATCH', /belongs to key pair/));
    let asked = 0;
    async function* slow() {
      for (; asked < 2; asked++) yield file.subarray(100 * asked, 100 * (asked + 1));
      await new Promise(() => {}); // the body never comes
    }
    await expect(server.loadKeys(slow(), { keyId })).rejects.toEqual(
      refused('MISMATCH', /belongs to key pair/),
    );
    expect(asked).toBe(1);
  });

  test('when the checksum was seen before, then it is not looked at, but residues are', async () => {
    const damaged = flipped(file.length - 1);
    using keys = await server.loadKeys(cut(damaged, 65536), { checksum: false });
    expect(error(keys)).toBeLessThan(1e-2);
    using whole = server.loadKeys(damaged, { checksum: false });
    expect(error(whole)).toBeLessThan(1e-2);
    expect(() => server.loadKeys(ones(), { checksum: false })).toThrow(/residue is not below/);
  });

  test('when the source fails, then its error is thrown and nothing is left', async () => {
    const before = use();
    const reason = new Error('the line is dead');
    for (const after of [0, 10, 1000, file.length / 2, file.length])
      await expect(server.loadKeys(failing(file, after, reason))).rejects.toBe(reason);
    expect(use()).toEqual(before);
  });

  test('when a piece is no bytes, then it is refused, the source is closed and nothing is left', async () => {
    const before = use();
    const stream = Readable.from(['BLNDBEAT', 'more'], { encoding: 'utf8' });
    await expect(server.loadKeys(stream)).rejects.toEqual(refused('USAGE', /as bytes/));
    expect(stream.destroyed).toBe(true);
    expect(use()).toEqual(before);
  });

  test('when others ask between the pieces, then all are answered', async () => {
    const before = use();
    {
      using mine = server.loadKeys(file);
      using upload = server.receiveKeys();
      using second = server.receiveKeys();
      const half = file.length >> 1;
      upload.write(file.subarray(0, half));
      second.write(file.subarray(0, 100_000));
      expect(error(mine)).toBeLessThan(1e-2);
      second.write(file.subarray(100_000));
      upload.write(file.subarray(half));
      using first = upload.finish();
      using last = second.finish();
      expect(error(first)).toBeLessThan(1e-2);
      expect(error(last)).toBeLessThan(1e-2);
      expect(() => upload.write(file)).toThrow(refused('USAGE', /is over/));
      expect(() => second.finish()).toThrow(refused('USAGE', /is over/));
      expect(error(first)).toBeLessThan(1e-2);
    }
    expect(use()).toEqual(before);
  });

  test('when an upload is given up, then nothing is left of it', () => {
    const before = use();
    const upload = server.receiveKeys();
    upload.write(file.subarray(0, -40));
    if (backend === 'fast') expect(use()).not.toEqual(before);
    upload[Symbol.dispose]();
    upload[Symbol.dispose]();
    expect(use()).toEqual(before);
    expect(() => upload.write(file.subarray(-40))).toThrow(refused('USAGE', /is over/));
  });

  test('when the server is disposed meanwhile, then the upload is refused and its keys are freed', async () => {
    const gone = await Server.open(compile(model, { backend }), { threads: 1 });
    const upload = gone.receiveKeys();
    upload.write(file.subarray(0, -40));
    gone[Symbol.dispose]();
    expect(gone.liveHandles).toBe(0);
    expect(() => upload.write(file.subarray(-40))).toThrow(refused('USAGE', /disposed/));
    expect(gone.liveHandles).toBe(0);
  });

  test('when all memory for keys is taken, then more keys are refused until some are gone', async () => {
    const keyMemory = 2 * server.keyBytes;
    using small = await Server.open(compile(model, { backend }), { threads: 1, keyMemory });
    const first = small.loadKeys(file);
    const upload = small.receiveKeys();
    const full = refused('ENVIRONMENT', /no room for the evaluation keys/);
    expect(() => small.loadKeys(file)).toThrow(full);
    expect(() => small.receiveKeys()).toThrow(full);
    await expect(small.loadKeys(cut(file, 65536))).rejects.toEqual(full);
    upload[Symbol.dispose]();
    const second = small.loadKeys(file);
    expect(() => small.loadKeys(file)).toThrow(full);
    first[Symbol.dispose]();
    small.evaluate(request, second);
    using _third = await small.loadKeys(cut(file, 65536));
    expect(small.hasKeyRoom).toBe(false);
    const options = { threads: 1, keyMemory: small.keyBytes - 1 };
    await expect(Server.open(compile(model, { backend }), options)).rejects.toEqual(
      refused('USAGE', /take \d+ bytes of memory, but keyMemory is/),
    );
  });
});

test.each(['hybrid', 'per-prime'] as const)(
  'when %s keys come in any pieces, then the same words are in memory',
  async (keySwitching) => {
    using server = await Server.open(compile(model, { keySwitching }), { threads: 2 });
    using client = await Client.open(server.manifest);
    const file = concat(client.evaluationKeys(client.createSecretKey()));
    const { allocate } = WasmMemory.prototype;
    const ranges: Uint32Array[] = [];
    const load = async (source: FilePieces) => {
      let range: { memory: WasmMemory; start: number } | null = null;
      WasmMemory.prototype.allocate = function (bytes) {
        const address = allocate.call(this, bytes);
        if (bytes === server.keyBytes) range = { memory: this, start: address / 4 };
        return address;
      };
      try {
        using _keys = await server.loadKeys(source);
        const { memory, start } = range! as { memory: WasmMemory; start: number };
        // Behind the key-switching keys is the public key, whose limbs lie apart.
        const { n } = server.manifest.parameters;
        ranges.push(memory.words.slice(start, start + server.keyBytes / 4 - 4 * (n + 16) - 16));
      } finally {
        WasmMemory.prototype.allocate = allocate;
      }
    };
    for (const size of [file.length, 1, 7, 65536]) await load(cut(file, size));
    expect(ranges).toHaveLength(4);
    expect(new Set(ranges[0]).size).toBeGreaterThan(10_000);
    for (const range of ranges.slice(1)) expect(range.every((word, i) => word === ranges[0][i])).toBe(true);
  },
);
