import { existsSync, statSync } from 'node:fs';
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { requestDigest } from '../../src/ckks/wire/reply.ts';
import { blindbeat, blindbeatJson, saveSmallModel, temporaryFolder } from './helpers.ts';

const folder = temporaryFolder();
const at = (...path: string[]) => join(folder, ...path);
const keys = at('my.keys');
const request = at('request.bin');
const reply = at('reply.bin');

/** A request, and two replies to it. */
beforeAll(async () => {
  const model = await saveSmallModel(at('small'), { channels: [8] });
  const infer = ['infer', request, '-m', model, '-k', join(keys, 'evaluation.keys'), '-o'];
  for (const args of [
    ['keygen', '-m', model, '-o', keys],
    ['encrypt', '--rhythm', 'af', '-k', keys, '-o', request],
    [...infer, reply],
    [...infer, at('again.bin')],
  ]) {
    const { code, stderr } = await blindbeat(...args);
    expect(stderr).not.toContain('error:');
    expect(code).toBe(0);
  }
});

describe('the request that a reply answers', () => {
  const noted = at('noted.keys');
  const log = join(noted, 'requests.json');
  const requestsNoted = async () => JSON.parse(await readFile(log, 'utf8')).requests;
  /** A folder with the keys and the requests of the first one. */
  beforeEach(async () => {
    await mkdir(noted, { recursive: true });
    for (const name of ['manifest.json', 'secret.key', 'requests.json'])
      await copyFile(join(keys, name), join(noted, name));
  });

  test('when a request is made then its digest and segment are noted for the owner alone', async () => {
    const out = at('second.request');
    const { json } = await blindbeatJson(
      'encrypt',
      '--rhythm',
      'af',
      '--start',
      '12.5',
      '-k',
      noted,
      '-o',
      out,
    );
    expect(json.digest).toBe(requestDigest(await readFile(out)));
    const requests = await requestsNoted();
    expect(requests.at(-1)).toEqual({
      digest: json.digest,
      file: out.slice(-128),
      time: expect.stringMatching(/^20\d\d-.*Z$/),
      recording: expect.stringContaining('af'),
      startSeconds: expect.closeTo(12.5, 1),
      seconds: expect.any(Number),
    });
    expect(statSync(log).mode & 0o777).toBe(0o600);
  });

  test('when a reply is decrypted then it says which request it answers', async () => {
    const { json, stderr } = await blindbeatJson('decrypt', reply, '-k', noted);
    const { reply: _, ...note } = (await requestsNoted())[0];
    expect(json.request).toMatchObject(note);
    expect(json.request.digest).toBe(requestDigest(await readFile(request)));
    expect(stderr).not.toContain('error');
    const { stdout } = await blindbeat('decrypt', reply, '-k', noted);
    expect(stdout).toContain('answers ');
    expect(stdout).toContain('request.bin');
  });

  test('when a reply is decrypted twice then both say the class, and the second that it is one', async () => {
    const { requests, ...rest } = JSON.parse(await readFile(log, 'utf8'));
    const fresh = requests.map(({ reply: _, ...request }: { reply?: object }) => request);
    await writeFile(log, JSON.stringify({ ...rest, requests: fresh }));
    const first = await blindbeat('decrypt', reply, '-k', noted);
    const second = await blindbeatJson('decrypt', reply, '-k', noted);
    expect([first.code, second.code]).toEqual([0, 0]);
    expect(first.stderr).not.toContain('note:');
    expect(second.stderr).toMatch(/note: this reply to the request was decrypted on 20\d\d-/);
    expect(second.json.request.decryptedBefore).toMatch(/^20\d\d-/);
    const again = await blindbeat('decrypt', at('again.bin'), '-k', noted);
    expect(again.stderr).toMatch(/note: another reply to the request was decrypted/);
  });

  test('when a reply answers a request that was not noted then it is refused', async () => {
    await rm(log);
    const { code, stderr, stdout } = await blindbeat('decrypt', reply, '-k', noted);
    expect(code).toBe(7);
    expect(stderr).toMatch(
      /reply\.bin: the reply answers request [0-9a-f]{12}, which is not in .*requests\.json/,
    );
    expect(stderr).toContain('--request');
    expect(stdout).toBe('');
    const named = await blindbeatJson('decrypt', reply, '-k', noted, '--request', request);
    expect(named.code).toBe(0);
    expect(named.json.request).toEqual({ digest: requestDigest(await readFile(request)), file: request });
    expect(existsSync(log)).toBe(false);
  });

  test('when an old reply is given for a newer request then it is refused', async () => {
    const out = at('newer.request');
    await blindbeat('encrypt', '--rhythm', 'normal', '-k', noted, '-o', out);
    const { code, stderr, stdout } = await blindbeat('decrypt', reply, '-k', noted, '--request', out);
    expect(code).toBe(7);
    expect(stderr).toMatch(/the reply answers request [0-9a-f]{12}, but the request here is [0-9a-f]{12}/);
    expect(stdout).toBe('');
  });

  test('when a reply is of before the digest then it is refused with the version and what to do', async () => {
    const old = at('old.reply');
    const bytes = await readFile(reply);
    bytes.writeUInt16LE(1, 8);
    await writeFile(old, bytes);
    const { code, stderr } = await blindbeat('decrypt', old, '-k', noted);
    expect(code).toBe(6);
    expect(stderr).toMatch(/old\.reply.*version is 1.*version 2.*evaluated again/s);
  });

  test('when the list is of other keys then its requests are forgotten', async () => {
    const other = { ...JSON.parse(await readFile(log, 'utf8')), keyId: 'ab'.repeat(16) };
    await writeFile(log, JSON.stringify(other));
    expect((await blindbeat('decrypt', reply, '-k', noted)).code).toBe(7);
    await blindbeat('encrypt', '--rhythm', 'af', '-k', noted, '-o', at('third.request'));
    expect(await requestsNoted()).toHaveLength(1);
  });

  test('when there are more requests than are remembered then the oldest is forgotten', async () => {
    const { requests, ...rest } = JSON.parse(await readFile(log, 'utf8'));
    const many = Array.from({ length: 1000 }, (_, k) => ({
      ...requests[0],
      digest: k.toString(16).padStart(64, '0'),
    }));
    await writeFile(log, JSON.stringify({ ...rest, requests: many }));
    await blindbeat('encrypt', '--rhythm', 'af', '-k', noted, '-o', at('last.request'));
    const after = await requestsNoted();
    expect(after).toHaveLength(1000);
    expect(after[0].digest).toBe(many[1].digest);
  });

  test.each([
    ['no JSON', 'hello'],
    ['another file', '{"format": "blindbeat manifest"}'],
    ['of a later version', '{"format": "blindbeat requests", "version": 2}'],
    ['without requests', '{"format": "blindbeat requests", "version": 1}'],
    ['deep', `${'['.repeat(200_000)}`],
  ])('when the list is %s then it is refused with what to do', async (_, text) => {
    await writeFile(log, text);
    for (const args of [
      ['decrypt', reply, '-k', noted],
      ['encrypt', '--rhythm', 'af', '-k', noted, '-o', at('never.request')],
    ]) {
      const { code, stderr } = await blindbeat(...args);
      expect(code).toBe(6);
      expect(stderr).toMatch(/requests\.json.*delete it/s);
    }
    expect(existsSync(at('never.request'))).toBe(false);
    expect(await readFile(log, 'utf8')).toBe(text);
  });

  test.each(['requests.json', 'secret.key', 'manifest.json', 'evaluation.keys'])(
    'when the request would be written over %s then it is refused',
    async (name) => {
      const before = existsSync(join(noted, name)) ? statSync(join(noted, name)).mtimeMs : null;
      const { code } = await blindbeat('encrypt', '--rhythm', 'af', '-k', noted, '-o', join(noted, name));
      expect(code).toBe(2);
      expect(existsSync(join(noted, name)) ? statSync(join(noted, name)).mtimeMs : null).toBe(before);
    },
  );

  test('when a request cannot be written then it is not noted', async () => {
    const { code } = await blindbeat('encrypt', '--rhythm', 'af', '-k', noted, '-o', at('no', 'x'));
    expect(code).toBe(8);
    expect(await requestsNoted()).toHaveLength(1);
  });
});
