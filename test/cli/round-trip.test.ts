import { existsSync, readFileSync, statSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { largeManifest } from '../helpers/large-manifest.ts';
import { blindbeat, blindbeatJson, saveSmallModel, temporaryFolder } from './helpers.ts';

const folder = temporaryFolder();
const at = (...path: string[]) => join(folder, ...path);
const model = at('small');
const other = at('other');
const keys = at('my.keys');
const evaluationKeys = join(keys, 'evaluation.keys');
const request = at('request.bin');
const reply = at('reply.bin');
const manifest = at('manifest.json');
const picture = at('profile.svg');
/** What makes the plan of the request on the server's side. */
const PLAN = ['-m', model, '--outputs', 'scores+map'];
let profile = '';

/** Server and client each with what they have: the model here, the manifest and the keys there. */
beforeAll(async () => {
  await saveSmallModel(model, { channels: [8] });
  await saveSmallModel(other, { channels: [8], seed: 2 });
  for (const args of [
    ['plan', '--model', model, '--outputs', 'scores+map', '--manifest', manifest],
    ['keygen', '--manifest', manifest, '--out', keys],
    ['encrypt', '--rhythm', 'af', '--keys', keys, '--out', request],
    [
      'infer',
      request,
      '--keys',
      evaluationKeys,
      '--out',
      reply,
      ...PLAN,
      '--profile',
      '--profile-svg',
      picture,
    ],
    ['keygen', '--model', other, '--out', at('other.keys')],
    ['keygen', '--manifest', manifest, '--out', at('second.keys')],
  ]) {
    const { code, stdout, stderr } = await blindbeat(...args);
    expect(stderr).not.toContain('error:');
    if (args[0] === 'infer') profile = stdout;
    expect(code).toBe(0);
  }
});

/** A copy of a file with one byte changed, or cut, or longer. */
async function spoil(path: string, name: string, change: (bytes: Buffer) => Uint8Array): Promise<string> {
  const spoilt = at(name);
  await writeFile(spoilt, change(await readFile(path)));
  return spoilt;
}

const flip = (position: number) => (bytes: Buffer) => {
  bytes[position < 0 ? bytes.length + position : position] ^= 1;
  return bytes;
};

describe('keygen -> encrypt -> infer -> decrypt', () => {
  test('when the reply is decrypted then it says what the clear model says', async () => {
    const { json, code } = await blindbeatJson('decrypt', reply, '--keys', keys);
    expect(code).toBe(0);
    const clear = await blindbeatJson('classify', '--rhythm', 'af', '--model', model, '--simulate');
    expect(Object.keys(json)).toEqual([
      ...['model', 'request', 'class', 'scores', 'probabilities', 'map', 'ms'],
    ]);
    expect(json.class).toBe(clear.json.class);
    expect(json.model).toBe('random-1');
    for (const name of ['N', 'A', 'O', '~']) {
      expect(Math.abs(json.scores[name] - clear.json.scores[name])).toBeLessThan(1e-2);
      expect(Math.abs(json.probabilities[name] - clear.json.probabilities[name])).toBeLessThan(1e-2);
    }
    expect(json.map).toHaveLength(25);
  });

  test('when it is disclosed then class and rounded probability are all, as one object and for people', async () => {
    const { json, code } = await blindbeatJson('decrypt', reply, '--keys', keys, '--disclose');
    expect(code).toBe(0);
    expect(Object.keys(json)).toEqual(['model', 'class', 'probability', 'disclosed']);
    expect(10 * json.probability).toBeCloseTo(Math.round(10 * json.probability), 9);
    expect(json.disclosed).toEqual({ noise: 0.1, step: 0.1 });
    const { stdout } = await blindbeat('decrypt', reply, '--keys', keys, '--disclose');
    expect(stdout).toMatch(/about \d+0 %/);
    expect(stdout).toContain('noise of 0.1 on every score');
    expect(stdout).not.toMatch(/score {2}|evidence|-?\d+\.\d{2}/);
  });

  test('when it is printed for people then class, evidence and disclaimer are there', async () => {
    const { stdout } = await blindbeat('decrypt', reply, '--keys', keys);
    expect(stdout).toContain('atrial fibrillation');
    expect(stdout).toContain('evidence for');
    expect(stdout).toContain('not a medical device');
  });

  test('when keys are made then only the owner can read the secret one', () => {
    expect(statSync(join(keys, 'secret.key')).mode & 0o777).toBe(0o600);
    expect(existsSync(join(keys, 'manifest.json'))).toBe(true);
  });

  test('when the secret key can be read by others then a warning says so', async () => {
    const open = at('open.keys');
    await mkdir(open);
    for (const name of ['manifest.json', 'secret.key']) await copyFile(join(keys, name), join(open, name));
    const bytes = await readFile(join(open, 'secret.key'));
    await writeFile(at('copy.key'), bytes, { mode: 0o644 });
    await copyFile(at('copy.key'), join(open, 'secret.key'));
    const { stderr, code } = await blindbeat('decrypt', reply, '--keys', open, '--request', request);
    expect(code).toBe(0);
    if (statSync(join(open, 'secret.key')).mode & 0o077) expect(stderr).toContain('chmod 600');
  });

  test('when the sizes are compared then files and plan agree', async () => {
    const { json } = await blindbeatJson('plan', '--model', model, '--outputs', 'scores+map');
    expect(json.bytes).toEqual({
      secretKey: statSync(join(keys, 'secret.key')).size,
      evaluationKeys: statSync(evaluationKeys).size,
      request: statSync(request).size,
      reply: statSync(reply).size,
    });
  });

  test('when infer was asked for a profile then every stage has its share', () => {
    for (const part of ['block 1', 'square 1', 'mean over time', ' %', 'rotations', 'products', '█']) {
      expect(profile).toContain(part);
    }
    const svg = readFileSync(picture, 'utf8');
    for (const part of ['block 1', 'square 1', 'mean over time', 'per encrypted ECG', 'threads']) {
      expect(svg).toContain(part);
    }
  });

  test('when the picture would be the reply itself then infer says so before any work', async () => {
    const { code, stderr } = await blindbeat(
      'infer',
      request,
      '-k',
      evaluationKeys,
      '-o',
      at('x'),
      '--profile-svg',
      at('x'),
    );
    expect(code).toBe(2);
    expect(stderr).toContain('is another file of the same command');
  });

  test('when infer prints --json then times, sizes and operations are there', async () => {
    const out = at('again.bin');
    const { json } = await blindbeatJson('infer', request, '-k', evaluationKeys, '-o', out, ...PLAN);
    expect(Object.keys(json)).toEqual([
      ...['model', 'keyId', 'path', 'bytes', 'threads', 'ms', 'operations', 'peakMemory'],
    ]);
    expect(Object.keys(json.ms)).toEqual(['start', 'loadKeys', 'server', 'layers']);
    expect(json.bytes.reply).toBe(statSync(out).size);
  });
});

describe('keygen', () => {
  test('when there are keys already then they are not replaced', async () => {
    const before = await readFile(join(keys, 'secret.key'));
    const { code, stderr } = await blindbeat('keygen', '--manifest', manifest, '--out', keys);
    expect(code).toBe(8);
    expect(stderr).toMatch(/already.*--force/s);
    expect(before.equals(await readFile(join(keys, 'secret.key')))).toBe(true);
  });

  test('when --force is given then all three files are replaced and nothing is left over', async () => {
    const out = at('forced.keys');
    const first = await blindbeatJson('keygen', '--manifest', manifest, '--out', out);
    const second = await blindbeatJson('keygen', '--manifest', manifest, '--out', out, '--force');
    expect(second.code).toBe(0);
    expect(second.json.keyId).not.toBe(first.json.keyId);
    expect((await readdir(out)).sort()).toEqual(['evaluation.keys', 'manifest.json', 'secret.key']);
    expect(statSync(join(out, 'secret.key')).mode & 0o777).toBe(0o600);
  });

  test('when the manifest lies in the folder already then it may stay', async () => {
    const out = at('beside.keys');
    await mkdir(out);
    await copyFile(manifest, join(out, 'manifest.json'));
    const { code } = await blindbeat('keygen', '--manifest', join(out, 'manifest.json'), '--out', out);
    expect(code).toBe(0);
  });

  test('when it fails then nothing is left in the folder', async () => {
    const out = at('blocked.keys');
    await mkdir(join(out, 'evaluation.keys'), { recursive: true });
    const { code, stderr } = await blindbeat('keygen', '--manifest', manifest, '--out', out, '--force');
    expect(code).toBe(8);
    expect(stderr).toContain('a folder of this name');
    expect((await readdir(out)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });
});

describe('files that do not belong together', () => {
  test('when the model is another one then infer names both plans before it starts', async () => {
    const out = at('never.bin');
    const { code, stderr } = await blindbeat('infer', request, '-k', evaluationKeys, '-o', out, '-m', other);
    expect(code).toBe(7);
    expect(stderr).toMatch(/was made for plan [0-9a-f]{12}, but these options make plan [0-9a-f]{12}/);
    expect(stderr).not.toContain('starting');
    expect(existsSync(out)).toBe(false);
  });

  test('when the outputs of the plan are not said to infer then it tells which options to give', async () => {
    const { code, stderr } = await blindbeat(
      ...['infer', request, '-k', evaluationKeys, '-o', at('never.bin'), '-m', model],
    );
    expect(code).toBe(7);
    expect(stderr).toMatch(/give the same --model, --outputs, --key-switching, --key-budget/);
    expect(existsSync(at('never.bin'))).toBe(false);
  });

  const cases: [string, () => string[]][] = [
    [
      'keys of another model',
      () => ['infer', request, '-k', at('other.keys', 'evaluation.keys'), ...PLAN, '-o', at('n')],
    ],
    [
      'keys of another client',
      () => ['infer', request, '-k', at('second.keys', 'evaluation.keys'), ...PLAN, '-o', at('n')],
    ],
    ['a reply for other keys', () => ['decrypt', reply, '-k', at('second.keys')]],
    ['a reply of another model', () => ['decrypt', reply, '-k', at('other.keys')]],
  ];
  test.each(cases)('when there are %s then they are refused', async (_, args) => {
    const { code, stderr } = await blindbeat(...args());
    expect(code).toBe(7);
    expect(stderr).toMatch(/was made for plan|belongs to key pair/);
    expect(existsSync(at('n'))).toBe(false);
  });

  test('when manifest and secret key are of different plans then encrypt refuses', async () => {
    const mixed = at('mixed.keys');
    await mkdir(mixed);
    await copyFile(join(keys, 'secret.key'), join(mixed, 'secret.key'));
    await copyFile(at('other.keys', 'manifest.json'), join(mixed, 'manifest.json'));
    const { code } = await blindbeat('encrypt', '--rhythm', 'af', '-k', mixed, '-o', at('n'));
    expect(code).toBe(7);
  });
});

describe('damaged files', () => {
  const cases: [string, string, (bytes: Buffer) => Uint8Array, RegExp][] = [
    ['a changed byte', 'request', flip(5000), /checksum/],
    ['a changed magic', 'request', flip(0), /does not start like one/],
    ['a newer version', 'request', flip(9), /format version/],
    ['a missing end', 'request', (b) => b.subarray(0, -1), /cut off/],
    ['only a header', 'request', (b) => b.subarray(0, 60), /cut off/],
    ['nothing in it', 'request', () => new Uint8Array(), /does not start like one/],
    ['more than it should', 'request', (b) => Buffer.concat([b, Buffer.alloc(1)]), /added to/],
    ['another kind', 'reply', (b) => b, /this is a reply/],
    ['text in it', 'request', () => Buffer.from('time,mV\n0,0.1\n'.repeat(20)), /does not start like one/],
  ];
  test.each(cases)('when a request has %s then infer refuses it', async (_, source, change, words) => {
    const spoilt = await spoil(source === 'reply' ? reply : request, 'spoilt.bin', change);
    const { code, stderr } = await blindbeat('infer', spoilt, '-k', evaluationKeys, '-o', at('n'), ...PLAN);
    expect(stderr).toMatch(words);
    expect(stderr).toContain('spoilt.bin');
    expect(code).toBe(6);
    expect(existsSync(at('n'))).toBe(false);
  });

  test('when the evaluation keys are cut off then infer refuses them', async () => {
    const cut = at('cut.keys');
    await copyFile(evaluationKeys, cut);
    await truncate(cut, 1_000_000);
    const { code, stderr } = await blindbeat('infer', request, '-k', cut, '-o', at('n'), ...PLAN);
    expect(code).toBe(6);
    expect(stderr).toMatch(/cut\.keys.*cut off/s);
  });

  test('when a reply is damaged then decrypt refuses it and names no class', async () => {
    const spoilt = await spoil(reply, 'spoilt.reply', flip(-100));
    const { code, stderr, stdout } = await blindbeat('decrypt', spoilt, '-k', keys);
    expect(code).toBe(6);
    expect(stderr).toContain('spoilt.reply');
    expect(stdout).toBe('');
  });

  test('when a manifest was changed then keygen refuses it with what is wrong', async () => {
    const text = (await readFile(manifest, 'utf8')).replace('"scoreLimit": 32', '"scoreLimit": 16');
    await writeFile(at('changed.json'), text);
    const { code, json } = await blindbeatJson(
      'keygen',
      '--manifest',
      at('changed.json'),
      '--out',
      at('n.keys'),
    );
    expect(code).toBe(6);
    expect(json.error).toEqual({ code: 'FORMAT', message: expect.stringContaining('planHash') });
    expect(existsSync(at('n.keys'))).toBe(false);
  });

  test('when keys of 240 MB are asked for then keygen makes them only when it was told to', async () => {
    await writeFile(
      at('large.json'),
      JSON.stringify(largeManifest(JSON.parse(await readFile(manifest, 'utf8')), 2)),
    );
    const args = ['keygen', '--manifest', at('large.json'), '--out', at('n.keys')];
    const { code, json } = await blindbeatJson(...args);
    expect(code).toBe(2);
    expect(json.error.message).toMatch(/take \d+ MB, more than the 200 MB .*--allow-key-bytes \d+/);
    expect((await blindbeatJson(...args, '--allow-key-bytes', '210')).json.error.code).toBe('USAGE');
    expect(existsSync(at('n.keys'))).toBe(false);
  });

  test.each([
    ['no JSON', 'hello'],
    ['no manifest', '{"format": "something"}'],
    ['null', 'null'],
  ])('when a manifest is %s then keygen refuses it', async (_, text) => {
    await writeFile(at('bad.json'), text);
    const { code, stderr } = await blindbeat('keygen', '--manifest', at('bad.json'), '--out', at('n.keys'));
    expect(code).toBe(6);
    expect(stderr).toContain('manifest');
  });

  test('when a failed run would have replaced a file then the old one stays', async () => {
    const out = at('kept.bin');
    await writeFile(out, 'precious');
    const { code } = await blindbeat('infer', request, '-k', evaluationKeys, '-o', out, '-m', other);
    expect(code).toBe(7);
    expect(await readFile(out, 'utf8')).toBe('precious');
  });
});

describe('wrong use', () => {
  const cases: [string, () => string[], number, RegExp][] = [
    ['encrypt without an ECG', () => ['encrypt', '-k', keys, '-o', at('n')], 2, /which ECG/],
    ['encrypt without keys', () => ['encrypt', 'a.csv', '-o', at('n')], 2, /--keys/],
    [
      'encrypt with keys that are not there',
      () => ['encrypt', '--rhythm', 'af', '-k', at('no'), '-o', at('n')],
      8,
      /manifest/,
    ],
    [
      'encrypt onto its input',
      () => ['encrypt', at('e.csv'), '-k', keys, '-o', at('e.csv')],
      2,
      /another file of the same command/,
    ],
    [
      'encrypt into no folder',
      () => ['encrypt', '--rhythm', 'af', '-k', keys, '-o', at('no', 'n')],
      8,
      /folder/,
    ],
    ['encrypt of no ECG', () => ['encrypt', at('no.csv'), '-k', keys, '-o', at('n')], 8, /no\.csv/],
    ['infer without a request', () => ['infer', '-k', evaluationKeys, '-o', at('n')], 2, /request/],
    [
      'infer of a request that is not there',
      () => ['infer', at('no'), '-k', evaluationKeys, '-o', at('n'), ...PLAN],
      8,
      /no such file/,
    ],
    [
      'infer with the folder of the keys',
      () => ['infer', request, '-k', keys, '-o', at('n'), ...PLAN],
      8,
      /folder/,
    ],
    [
      'infer with the secret key',
      () => ['infer', request, '-k', join(keys, 'secret.key'), '-o', at('n'), ...PLAN],
      6,
      /secret key/,
    ],
    [
      'infer onto its input',
      () => ['infer', request, '-k', evaluationKeys, '-o', request, ...PLAN],
      2,
      /another file of the same command/,
    ],
    [
      'infer onto the keys',
      () => ['infer', request, '-k', evaluationKeys, '-o', evaluationKeys, ...PLAN],
      2,
      /another file of the same command/,
    ],
    [
      'infer into no folder',
      () => ['infer', request, '-k', evaluationKeys, '-o', at('no', 'n'), ...PLAN],
      8,
      /folder/,
    ],
    [
      'decrypt of what is both exact and disclosed',
      () => ['decrypt', reply, '-k', keys, '--exact', '--disclose'],
      2,
      /cannot be used with/,
    ],
    ['decrypt without keys', () => ['decrypt', reply], 2, /--keys/],
    ['decrypt of a request', () => ['decrypt', request, '-k', keys], 6, /this is a request/],
    ['decrypt of nothing', () => ['decrypt', at('no'), '-k', keys], 8, /no such file/],
    ['keygen without a folder', () => ['keygen', '-m', model], 2, /--out/],
    [
      'keygen with model and manifest',
      () => ['keygen', '-m', model, '--manifest', manifest, '-o', at('n')],
      2,
      /cannot be used with/,
    ],
    ['keygen into a file', () => ['keygen', '-m', model, '-o', request], 8, /folder/],
    ['plan of no model', () => ['plan', '-m', at('no')], 8, /no model/],
    [
      'plan with a manifest nowhere',
      () => ['plan', '-m', model, '--manifest', at('no', 'm.json')],
      8,
      /folder/,
    ],
    ['synth of no rhythm', () => ['synth', '--rhythm', 'waltz', '-o', at('n')], 2, /normal, af/],
    ['synth of no length', () => ['synth', '--seconds', '0', '-o', at('n')], 2, /from 1/],
    ['synth without a file', () => ['synth'], 2, /--out/],
  ];
  test.each(cases)('when there is %s then it is refused with words', async (_, args, code, words) => {
    const { code: found, stderr, stdout } = await blindbeat(...args());
    expect(stderr).toMatch(words);
    expect(found).toBe(code);
    expect(stdout).toBe('');
    expect(existsSync(at('n'))).toBe(false);
  });
});
