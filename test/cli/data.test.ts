import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { zipSync } from 'fflate';
import { beforeEach, describe, expect, test } from 'vitest';
import { runCli } from '../../src/cli/program.ts';
import { openDataset } from '../../src/dataset/open.ts';
import { FILES, LABELS, PAGE, parseSums } from '../../src/dataset/source.ts';
import type { RHYTHMS } from '../../src/ecg/rhythm.ts';
import { synthesise } from '../../src/ecg/synth.ts';
import { FileServer } from '../dataset/download/file-server.ts';
import { blindbeat, blindbeatJson, Collected, temporaryFolder } from './helpers.ts';

const server = await FileServer.start();
const folder = temporaryFolder();
const out = join(folder, 'made', 'data');
const encode = (text: string) => new TextEncoder().encode(text);

/** A synthetic record in the set's layout: 300 Hz, 1000 units per millivolt. */
function record(id: string, rhythm: (typeof RHYTHMS)[number]): Record<string, Uint8Array> {
  const { mv } = synthesise({ rhythm, seconds: 9, rate: 300, seed: 1 }).leads[0];
  const mat = Buffer.alloc(24 + 2 * mv.length);
  [30, 1, mv.length, 0, 4].forEach((v, i) => {
    mat.writeInt32LE(v, 4 * i);
  });
  mat.write('val', 20);
  mv.forEach((v, i) => {
    mat.writeInt16LE(Math.round(1000 * v), 24 + 2 * i);
  });
  const header = `${id} 1 300 ${mv.length}\n${id}.mat 16+24 1000/mV 16 0 0 0 0 ECG\n`;
  return { [`training2017/${id}.hea`]: encode(header), [`training2017/${id}.mat`]: new Uint8Array(mat) };
}

const zip = zipSync({ ...record('A00001', 'normal'), ...record('A00002', 'af') });
const reference = encode('A00001,N\nA00002,A\n');
const sum = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const sums = `${sum(zip)}  training2017.zip\n${sum(reference)} *REFERENCE-v3.csv\n`;

function serve(files: Record<string, Uint8Array | string>): void {
  server.files.clear();
  server.log.length = 0;
  for (const [name, content] of Object.entries(files)) {
    server.files.set(`set/${name}`, { bytes: typeof content === 'string' ? encode(content) : content });
  }
}

const all = { 'SHA256SUMS.txt': sums, 'training2017.zip': zip, 'REFERENCE-v3.csv': reference };
const args = ['data', 'cinc2017', '--out', out, '--url'];
const url = `${server.url}set`;

/** Waits until so much of the zip file has come. */
async function partOf(size: number): Promise<void> {
  const part = join(out, 'training2017.zip.part');
  while (!existsSync(part) || readFileSync(part).length < size) await setTimeout(5);
}

beforeEach(async () => {
  await rm(out, { recursive: true, force: true });
  serve(all);
});

describe('data', () => {
  test('when a server has the files then the folder is a data set, and licence and citation are told', async () => {
    const { code, stdout, stderr } = await blindbeat(...args, url);
    expect([code, stderr]).toEqual([0, 'REFERENCE-v3.csv\ntraining2017.zip\n']);
    expect(await readdir(out)).toEqual(['REFERENCE-v3.csv', 'training2017.zip']);
    const { records, missing } = openDataset(out);
    expect([records.map((r) => r.label), missing]).toEqual([['N', 'A'], []]);
    expect(records[1].recording().leads[0].mv).toHaveLength(2700);
    expect(stdout).toContain('checked (SHA256SUMS.txt of the server)');
    expect(stdout).toContain('2 records: 1 N, 1 A, 0 O, 0 ~');
    expect(stdout).toMatch(/ODC-BY 1\.0[\s\S]*Clifford[\s\S]*Goldberger[\s\S]*blindbeat train --data/);
  });

  test('when it is called again then nothing is fetched twice', async () => {
    await blindbeat(...args, url);
    server.log.length = 0;
    const { code, json, stderr } = await blindbeatJson(...args, url);
    expect([code, stderr, server.log]).toEqual([0, '', ['GET set/SHA256SUMS.txt 200']]);
    expect(json).toMatchObject({ records: 2, classes: { N: 1, A: 1, O: 0, '~': 0 }, official: false });
    expect(json.files.map((f: { status: string }) => f.status)).toEqual(['there', 'there']);
    expect(json.files[1].sha256).toBe(sum(zip));
  });

  test('when the connection is cut then it says so and goes on with the rest', async () => {
    server.files.set('set/training2017.zip', { bytes: zip, stops: [1000] });
    const running = blindbeat(...args, url);
    await partOf(1000);
    server.cut(1000);
    const { code, stderr } = await running;
    expect(code).toBe(0);
    expect(stderr).toMatch(/warning: .*training2017\.zip cannot be fetched: .* Trying again in 1 s\./);
    expect(stderr).toContain('training2017.zip, from 1.00 kB on');
    expect(readFileSync(join(out, 'training2017.zip')).equals(zip)).toBe(true);
  });

  test('when Ctrl-C comes then the part stays, it says how to go on, and the next call does', async () => {
    server.files.set('set/training2017.zip', { bytes: zip, stops: [1000] });
    const stderr = new Collected();
    const running = runCli([...args, url], { stdout: new Collected(), stderr });
    await partOf(1000);
    process.emit('SIGINT');
    expect(await running).toBe(130);
    expect(stderr.text).toMatch(
      /interrupted\. 1\.00 kB are kept in .*\.part; the same command goes on from there/,
    );
    serve(all);
    expect((await blindbeat(...args, url)).stdout).toContain('training2017.zip: downloaded, the rest of it');
  });

  test('when a checksum does not fit then the file does not appear', async () => {
    serve({ ...all, 'training2017.zip': encode('another') });
    const { code, json } = await blindbeatJson(...args, url);
    expect([code, json.error.code]).toEqual([10, 'ENVIRONMENT']);
    expect(json.error.message).toContain(`expected: SHA-256 ${sum(zip)}; got 7 bytes`);
    expect(await readdir(out)).toEqual(['REFERENCE-v3.csv']);
  });

  test('when a server lists no checksums then only the official files are taken', async () => {
    serve({ 'REFERENCE-v3.csv': reference });
    const small = await blindbeat(...args, url);
    expect(small.code).toBe(10);
    expect(small.stderr).toMatch(/it is another file: expected 76752 bytes, the server has 18/);
    // Labels of the right size, but of an older version.
    serve({ 'REFERENCE-v3.csv': labels({ N: 5154, A: 771, O: 2557, '~': 46 }) });
    const old = await blindbeat(...args, url);
    expect(old.code).toBe(10);
    expect(old.stderr).toMatch(/not the final version of the labels: expected 5,076 N.* got 5,154 N/);
    expect(await readdir(out)).toEqual([]);
    // The right labels, and then a zip file of another size.
    serve({ 'REFERENCE-v3.csv': labels(LABELS), 'training2017.zip': zip });
    const zipped = await blindbeat(...args, url);
    expect(zipped.stderr).toContain(`expected ${FILES['training2017.zip'].bytes} bytes`);
    expect(await readdir(out)).toEqual(['REFERENCE-v3.csv']);
  });

  test('when the labels name records that are not there then that is said', async () => {
    const more = encode('A00001,N\nA00002,A\nA00003,O\n');
    serve({ ...all, 'SHA256SUMS.txt': sums.replace(sum(reference), sum(more)), 'REFERENCE-v3.csv': more });
    const { code, stderr } = await blindbeat(...args, url);
    expect(code).toBe(10);
    expect(stderr).toContain('holds 2 of the 3 records');
  });

  test('when another file has the name then it stays', async () => {
    await mkdir(out, { recursive: true });
    writeFileSync(join(out, 'training2017.zip'), 'mine');
    const { code, stderr } = await blindbeat(...args, url);
    expect(code).toBe(8);
    expect(stderr).toContain('is there already, but is another file');
    expect(readFileSync(join(out, 'training2017.zip'), 'utf8')).toBe('mine');
  });

  test.each([
    ['no server is there', 'http://127.0.0.1:2/', 'the connection was refused'],
    ['the server has no such files', `${server.url}none`, 'there is no such file (404)'],
  ])('when %s then it says what to do instead', async (_, address, words) => {
    const { code, stderr } = await blindbeat(...args, address);
    expect(code).toBe(10);
    expect(stderr).toContain(words);
    expect(stderr).toContain(`in a browser from ${PAGE}, put them into one folder`);
    expect(stderr).toContain('--data');
  });

  test.each(['ftp://physionet.org/', 'data', 'https://me:word@physionet.org/', 'https://physionet.org/?a=1'])(
    'when --url is %s then it is refused',
    async (address) => {
      const { code, stderr } = await blindbeat(...args, address);
      expect(code).toBe(2);
      expect(stderr).toContain('--url: expected the address of a folder');
    },
  );

  test('when the folder cannot be made then it says so', async () => {
    const { code, stderr } = await blindbeat(
      ...['data', 'cinc2017', '--out', join(import.meta.filename, 'data'), '--url', url],
    );
    expect(code).toBe(8);
    expect(stderr).toContain('cannot be made');
  });

  test('when another set is asked for then the choices are told', async () => {
    const { code, stderr } = await blindbeat('data', 'mitdb', '--out', out);
    expect(code).toBe(2);
    expect(stderr).toContain('cinc2017');
  });
});

describe('parseSums', () => {
  test('when a line is no checksum then the list is refused', () => {
    expect(() => parseSums('<html>please log in', 'https://x/')).toThrow('login page');
    expect(parseSums(`${'A'.repeat(64)}  ./a b.zip\r\n\n`, '')).toEqual(
      new Map([['a b.zip', 'a'.repeat(64)]]),
    );
  });
});

/** Labels of 8528 records in the layout of the official file. */
function labels(counts: Record<string, number>): string {
  const list = Object.entries(counts).flatMap(([label, count]) => Array<string>(count).fill(label));
  return list.map((label, i) => `A${String(i + 1).padStart(5, '0')},${label}\n`).join('');
}
