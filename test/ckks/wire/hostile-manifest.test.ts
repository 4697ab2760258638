import { describe, expect, test } from 'vitest';
import { Client } from '../../../src/ckks/client.ts';
import type { KeySwitching } from '../../../src/ckks/keyswitch/gadget.ts';
import { evaluationKeysSize } from '../../../src/ckks/keyswitch/key-size.ts';
import { compile } from '../../../src/ckks/planner/compile.ts';
import { choosePrimes, log2Product } from '../../../src/ckks/ring/primes.ts';
import { type Outputs, type ParsedManifest, parseManifest } from '../../../src/ckks/wire/manifest.ts';
import { prepareSegment } from '../../../src/ecg/preprocess.ts';
import { synthesise } from '../../../src/ecg/synth.ts';
import { BlindbeatError } from '../../../src/errors.ts';
import { loadModel } from '../../../src/model/files.ts';
import { fakeReply } from '../../helpers/fake-reply.ts';
import { largeManifest } from '../../helpers/large-manifest.ts';
import { deepList } from '../../helpers/mutate.ts';
import { randomModel, SHIPPED } from '../../helpers/random-model.ts';
import { resealed } from '../../helpers/reseal.ts';

const options = { outputs: 'scores+map', keySwitching: 'per-prime' } as const;
const { manifest } = compile(randomModel({ samples: 2048, channels: [4, 8] }), options).plan;
const { preprocessing: p, reply, parameters, keys } = manifest;
const band = { low: 0.01, lowOrder: 8, high: 0.02, highOrder: 8 };

/** Milliseconds of this process's work on what is done, the least of three times: other work does not count. */
function cpuMs(act: () => void): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 3 && least > 100; i++) {
    const before = process.cpuUsage();
    act();
    const { user, system } = process.cpuUsage(before);
    least = Math.min(least, (user + system) / 1000);
  }
  return least;
}

describe('a server that seals a hostile manifest', () => {
  test.each<[string, object, RegExp]>([
    [
      'many classes with one group, so that two replies give the whole secret key',
      { classes: Array.from({ length: 4096 }, (_, i) => `c${i}`), reply: { ...reply, group: 4096 } },
      /classes: expected a list of at most 16/,
    ],
    ['a larger group', { reply: { ...reply, group: 16 } }, /reply\.group: expected 4 for 4 classes, got 16/],
    [
      'a smaller scale, to show the noise',
      { reply: { ...reply, scale: 1 } },
      /reply\.scale: expected 1048576/,
    ],
    [
      'millions of windows',
      { reply: { ...reply, map: { ...reply.map, windows: 2e7 } } },
      /reply\.map\.windows: expected a whole number from 1 to 25/,
    ],
    [
      'windows that the positions do not give',
      { reply: { ...reply, map: { ...reply.map, width: 2, hop: 1 } } },
      /reply\.map\.width: expected .*\n.*reply\.map\.hop: expected/,
    ],
    [
      'positions that do not fill the slots',
      { reply: { ...reply, map: { ...reply.map, positions: 64 } } },
      /reply\.map: 64 positions of 4 slots/,
    ],
    ['another bound', { scoreBound: 1e6 }, /scoreBound: expected 511/],
    ['a limit near the bound', { scoreLimit: 500 }, /scoreLimit: expected at most 32\.2/],
    ['a limit a little too large', { scoreLimit: 64 }, /earlier version .* exported again/],
    [
      'check values of other classes',
      { checks: [{ rhythm: 'af', seed: 1, scores: [1] }] },
      /checks: expected 4 scores/,
    ],
    [
      'check values beyond the limit',
      { checks: [{ rhythm: 'af', seed: 1, scores: [0, 0, 0, 1e9] }] },
      /checks: expected 4 scores within/,
    ],
    [
      'check values of thousands of ECGs',
      { checks: Array.from({ length: 1000 }, (_, seed) => ({ rhythm: 'af', seed, scores: [0, 0, 0, 0] })) },
      /checks: expected a list of at most 16/,
    ],
    ['endless samples', { samples: 2 ** 27 }, /samples: expected a power of two from 1 to 16384/],
    [
      'more samples than slots',
      { samples: 8192, preprocessing: { ...p, samples: 8192, seconds: 60 } },
      /samples: 8192 samples do not fill 4096 slots/,
    ],
    [
      'a rate of one sample in three seconds',
      { preprocessing: { ...p, seconds: 6144, band } },
      /preprocessing\.seconds: expected a number from 0\.001 to 120/,
    ],
    [
      'a rate of four samples per second',
      { samples: 256, preprocessing: { ...p, samples: 256, seconds: 64, band: { ...band, high: 1 } } },
      /preprocessing\.seconds: expected a rate/,
    ],
    ['a filter of order 16', { preprocessing: { ...p, band: { ...p.band, lowOrder: 16 } } }, /lowOrder/],
    ['a huge input scale', { inputScale: 1e308 }, /inputScale: expected a power of two/],
    [
      'a spare prime for per-prime keys',
      withSpare(choosePrimes(parameters.n, [25])),
      /spare: per-prime keys have no/,
    ],
    ['a data prime as spare prime', withSpare(parameters.primes.slice(0, 1)), /primes are not distinct/],
    ['a spare prime that is none', withSpare([2 ** 26 + 1]), /parameters\.spare\[0\]: 67108865 is no prime/],
    ['no spare primes, as a list', withSpare([]), /spare: expected at least one/],
    ['a scale and a bound beyond the primes', hugeInput(), /inputScale: samples up to 100 need/],
    ['a fractional security', { parameters: { ...parameters, security: 128.5 } }, /security: expected 128/],
    ['n as a text', { parameters: { ...parameters, n: String(parameters.n) } }, /parameters\.n: .*"8192"/],
    ['outputs that are a number', { outputs: 0.5 }, /outputs: expected "scores" or "scores\+map", got 0.5/],
    ['no classes', { classes: [] }, /classes: expected at least two/],
    [
      'a fingerprint that is a text',
      { model: { name: 'm', fingerprint: 'x' } },
      /fingerprint: expected 64 characters/,
    ],
    [
      'a name for the terminal',
      { model: { ...manifest.model, name: '\u001b]0;owned\u0007' } },
      /model\.name: expected a name of .*, got "\\u\{1b\}\]0;owned\\u\{7\}"$/,
    ],
    [
      'thousands of keys',
      { keys: { ...keys, galois: Array.from({ length: 4000 }, (_, step) => ({ step, limbs: 1 })) } },
      /keys\.galois: expected a list of at most 512/,
    ],
  ])('when it has %s, then a client refuses it', async (_, change, message) => {
    const value = resealed({ ...manifest, ...change });
    expect(() => parseManifest(value)).toThrow(expect.objectContaining({ code: 'FORMAT' }));
    expect(() => parseManifest(value)).toThrow(message);
    await expect(Client.open(value)).rejects.toThrow(message);
  });

  function withSpare(spare: number[]) {
    const logQP = log2Product([...parameters.primes, ...spare, parameters.special]);
    return { parameters: { ...parameters, spare, logQP } };
  }

  function hugeInput() {
    const primes = parameters.primes.slice(0, 1);
    const logQP = log2Product([...primes, parameters.special]);
    return {
      parameters: { ...parameters, primes, logQP },
      keys: { ...keys, relinearisation: [{ limbs: 1 }], galois: [] },
      preprocessing: { ...p, bound: 100 },
    };
  }

  test('when its primes are beyond 128-bit security, then no client opens', async () => {
    const n = 16384;
    const all = choosePrimes(n, [...Array.from({ length: 14 }, () => 29), 30]);
    const logQP = log2Product(all);
    const insecure = resealed({
      ...compile(randomModel(SHIPPED)).plan.manifest,
      parameters: { n, primes: all.slice(0, -1), special: all.at(-1), logQP, security: 128 },
    });
    expect(logQP).toBeCloseTo(436, 0);
    await expect(Client.open(insecure)).rejects.toThrow(/log2\(QP\) = 43\d\.\d is above 430/);
    await expect(Client.open({})).rejects.toMatchObject({ code: 'FORMAT' });
    await expect(Client.open(undefined)).rejects.toThrow(/manifest: expected an object, got nothing/);
  });
});

describe('names', () => {
  const named = (name: unknown) => resealed({ ...manifest, classes: ['N', name, 'O', '~'] });

  test.each([
    'A',
    'AF',
    'vorhofflimmern',
    'Störung',
    'δ-Welle',
    '心房细动',
    'á'.normalize(),
    'x'.repeat(32),
    'a b',
  ])('when a class is called %j, then it is', (name) => {
    expect(parseManifest(named(name)).classes[1]).toBe(name);
  });

  test.each([
    ...['', ' ', ' A', 'A ', 'A  B', 'x'.repeat(33), 'A\n', 'A\u0000', '\u001b[31mA', 'A\u009b'],
    ...['\u202eA', 'A\u200b', 'A\u200d', '\u2066A', '\ufeffA', 'A\u00ad', '\u3164', '\u2800', 'A\u034f'],
    ...[
      'A\u{e0041}',
      '\ud800',
      'א',
      'ع',
      'a\u0301',
      'A\u0316\u0317\u0318',
      '\u0301',
      'n',
      'N',
      'Ｎ',
      5,
      null,
    ],
  ])('when a class is called %j, then it is refused', (name) => {
    expect(() => parseManifest(named(name))).toThrow(/classes.*: expected (a name|different names)/);
  });
});

describe('evaluation keys that nobody wants', () => {
  test('when they take 48 GB, then the manifest is refused in a moment', () => {
    const many = largeManifest(manifest, 512);
    expect(evaluationKeysSize(many.parameters, many.keys)).toBeGreaterThan(45e9);
    const refused = () => {
      expect(() => parseManifest(many)).toThrow(/keys: these take \d+ MB, at most 1000 MB/);
    };
    expect(cpuMs(refused)).toBeLessThan(200);
  });

  test('when they take more than 200 MB, then a client makes them only when it was told to', async () => {
    const value = largeManifest(manifest, 2);
    using client = await Client.open(value);
    const secret = client.createSecretKey();
    expect(() => client.evaluationKeys(secret).next()).toThrow(
      expect.objectContaining({
        code: 'USAGE',
        message: expect.stringMatching(/take 27\d MB, .* maxKeyBytes$/),
      }),
    );
    using willing = await Client.open(value, { maxKeyBytes: 300e6 });
    const pieces = willing.evaluationKeys(secret);
    expect(pieces.next().value?.length).toBeGreaterThan(0);
    pieces.return(undefined);
  });
});

describe('any field', () => {
  const hostile: unknown[] = [
    ...[
      undefined,
      null,
      true,
      false,
      '',
      '0',
      'NaN',
      '1e400',
      '__proto__',
      '\u202e',
      '\u001b[2J',
      'x'.repeat(1e5),
    ],
    ...[[], {}, [[]], [null], { length: 1e9 }, Object.create(null), deepList(), 1n],
    ...[NaN, Infinity, -Infinity, -0, 0, -1, 0.5, 1, 2, 3, 4, 16, 17, 100, 128.5, 4096, 16384, 65536, 65537],
    ...[2 ** 24, 2 ** 27, 2 ** 31, 2 ** 32, 2 ** 53, 1e100, 1e308, -1e308, 5e-324, 1e-300],
  ];
  const related = [
    (x: number) => x + 1,
    (x: number) => x - 1,
    (x: number) => x + 1e-9,
    (x: number) => x * 2,
    (x: number) => x / 2,
    (x: number) => -x,
  ];
  const ecg = synthesise({ rhythm: 'normal', seconds: 30, rate: 300, seed: 1 }).leads[0].mv;

  /** Every way into a value, of lists only to the first and the last item. */
  function paths(value: unknown): string[][] {
    if (typeof value !== 'object' || value === null) return [];
    const names = Object.keys(value).filter(
      (_, i, all) => !Array.isArray(value) || i % (all.length - 1 || 1) === 0,
    );
    return names.flatMap((key) => [
      [key],
      ...paths(value[key as keyof typeof value]).map((rest) => [key, ...rest]),
    ]);
  }

  function replaced(value: unknown, [key, ...rest]: string[], change: (old: unknown) => unknown): unknown {
    const old = (value as Record<string, unknown>)[key];
    const part = rest.length === 0 ? change(old) : replaced(old, rest, change);
    if (Array.isArray(value)) return value.map((item, i) => (String(i) === key ? part : item));
    return { ...(value as object), [key]: part };
  }

  /** What a client does with what a server sent; nothing but its own errors may come of it. */
  async function use(parsed: ParsedManifest): Promise<void> {
    using client = await Client.open(parsed);
    using secret = client.createSecretKey();
    const digest = '0'.repeat(64);
    for (const act of [
      () => prepareSegment(ecg, 300, parsed.preprocessing),
      () => client.encrypt(secret, new Float32Array(parsed.samples).fill(0.01)),
      () => client.decrypt(secret, fakeReply(parsed, secret.keyId, digest), digest),
    ]) {
      try {
        act();
      } catch (error) {
        expect(error).toBeInstanceOf(BlindbeatError);
        expect(error).not.toMatchObject({ code: 'INTERNAL' });
      }
    }
  }

  test('when it is hostile, then it is refused in words, or does no harm: 1 s and 300 MB at most', async () => {
    await use(manifest); // what is loaded once
    const before = process.memoryUsage.rss();
    const accepted = new Map<string, ParsedManifest>();
    let tried = 0;
    for (const path of paths(manifest)) {
      const changes = [...hostile.map((value) => () => value), ...related];
      for (const change of changes) {
        let value = replaced(manifest, path, (old) => (change as (old: unknown) => unknown)(old));
        try {
          value = resealed(value);
        } catch {
          // What has no JSON has no hash either.
        }
        tried++;
        const parse = () => {
          try {
            const parsed = parseManifest(value);
            accepted.set(parsed.planHash, parsed);
          } catch (error) {
            if (!(error instanceof BlindbeatError && error.code === 'FORMAT')) throw error;
          }
        };
        expect(cpuMs(parse), path.join('.')).toBeLessThan(200);
      }
    }
    for (const parsed of accepted.values()) {
      const before = process.cpuUsage();
      await use(parsed);
      const { user, system } = process.cpuUsage(before);
      expect((user + system) / 1000, JSON.stringify(parsed)).toBeLessThan(1000);
    }
    expect(tried).toBeGreaterThan(2000);
    expect(accepted.size).toBeGreaterThan(20); // such as another dimension of the band
    expect(process.memoryUsage.rss() - before).toBeLessThan(300e6);
  });

  test.each<[string, string]>([
    ['lists in each other', '['.repeat(2 ** 19) + ']'.repeat(2 ** 19)],
    ['a long list', `[${'0,'.repeat(2 ** 19)}0]`],
    ['many lists', `[${'[],'.repeat(340_000)}0]`],
    ['many fields', `{${Array.from({ length: 80_000 }, (_, i) => `"k${i}":1`).join()}}`],
    ['a long text', `"${'x'.repeat(2 ** 20)}"`],
  ])('when 1 MB of %s is in its place, then it is refused within 0.2 s', (_, text) => {
    const value = JSON.parse(text);
    for (const path of [['unknown'], ...paths(manifest)]) {
      const whole = replaced(manifest, path, () => value);
      const refused = () => {
        expect(() => parseManifest(whole)).toThrow(expect.objectContaining({ code: 'FORMAT' }));
      };
      expect(cpuMs(refused)).toBeLessThan(200);
    }
  });
});

describe('manifests of before', () => {
  const all = ['deepcardio-deg2', 'deepcardio-deg2-plain'].flatMap((name) =>
    (['hybrid', 'per-prime'] as const).flatMap((keySwitching) =>
      (['scores', 'scores+map'] as const).map((outputs): [string, KeySwitching, Outputs] => [
        name,
        keySwitching,
        outputs,
      ]),
    ),
  );
  test.each(all)('when %s is planned with %s keys for %s, then a client takes it', async (...choice) => {
    const [name, keySwitching, outputs] = choice;
    const planned = compile(await loadModel(name), { keySwitching, outputs }).plan.manifest;
    expect(parseManifest(JSON.parse(JSON.stringify(planned)))).toEqual(planned);
  });
});
