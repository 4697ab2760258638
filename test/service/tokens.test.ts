import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { hexDigest } from '../../src/digest.ts';
import { allows, SCOPES, TokenFile } from '../../src/service/tokens.ts';
import { temporaryFolder } from './http/helpers.ts';

const HOUR = 3_600_000;

function path(): string {
  return join(temporaryFolder(), 'below', 'tokens.json');
}

afterEach(() => {
  vi.useRealTimers();
});

/** A file that another process has, which looks at it now. */
const elsewhere = (file: string) => new TokenFile(file);

describe('tokens', () => {
  test('when one is made, then its text opens and the file does not tell it', async () => {
    const file = path();
    const { token, text } = await new TokenFile(file).create('ward 3', ['infer', 'keys'], null);
    expect(text).toMatch(/^bb_[0-9a-f]{16}_[\w-]{43}$/);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const content = readFileSync(file, 'utf8');
    const secret = text.slice(20);
    expect(content).not.toContain(secret);
    expect(content).toContain(hexDigest(secret));
    expect(await elsewhere(file).verify(text)).toEqual(token);
    expect(await elsewhere(file).list()).toEqual([token]);
  });

  test('when a text is another in any character, then it opens nothing', async () => {
    const file = path();
    const tokens = new TokenFile(file);
    const { text } = await tokens.create('a', ['infer'], null);
    const { text: other } = await tokens.create('b', ['infer'], null);
    const wrong = Array.from(text, (c, i) => text.slice(0, i) + (c === 'A' ? 'B' : 'A') + text.slice(i + 1));
    for (const guess of [
      ...wrong,
      '',
      text.slice(0, -1),
      `${text}A`,
      ` ${text}`,
      text.slice(0, 20) + other.slice(20),
    ])
      expect(await tokens.verify(guess), guess).toBeUndefined();
    expect((await tokens.verify(text))?.name).toBe('a');
  });

  test('when scopes are asked for, then only those that were given, and all to admin', async () => {
    expect(SCOPES.filter((scope) => allows({ scopes: ['infer', 'metrics'] }, scope))).toEqual([
      'infer',
      'metrics',
    ]);
    expect(SCOPES.filter((scope) => allows({ scopes: ['admin'] }, scope))).toEqual([...SCOPES]);
  });

  test('when the time of a token is over, then it opens nothing more', async () => {
    const file = path();
    const tokens = new TokenFile(file);
    const { text, token } = await tokens.create('short', ['infer'], new Date(Date.now() + HOUR));
    expect(await tokens.verify(text)).toEqual(token);
    vi.useFakeTimers({ now: Date.now() + HOUR, toFake: ['Date'] });
    expect(await tokens.verify(text)).toBeUndefined();
    expect(await tokens.withId(token.id)).toBeUndefined();
  });

  test('when another process changes the file, then this one notices within a second', async () => {
    const file = path();
    const tokens = new TokenFile(file);
    expect(await tokens.isRequired()).toBe(false);
    const { text } = await elsewhere(file).create('new', ['keys'], null);
    await vi.waitFor(async () => expect(await tokens.isRequired()).toBe(true), { timeout: 3000 });
    expect((await tokens.verify(text))?.name).toBe('new');
    expect((await elsewhere(file).revoke('new')).name).toBe('new');
    await vi.waitFor(async () => expect(await tokens.verify(text)).toBeUndefined(), { timeout: 3000 });
    rmSync(file);
    await vi.waitFor(async () => expect(await tokens.list()).toEqual([]), { timeout: 3000 });
    expect(await tokens.isRequired()).toBe(true); // nobody gets in by deleting it
  });

  test('when a name is taken, odd or unknown, then it is refused', async () => {
    const tokens = new TokenFile(path());
    await tokens.create('a', ['infer'], null);
    const code = 'USAGE';
    await expect(tokens.create('a', ['infer'], null)).rejects.toMatchObject({ code });
    await expect(tokens.create('\u001b[31mred', ['infer'], null)).rejects.toMatchObject({ code });
    await expect(tokens.create('b', [], null)).rejects.toMatchObject({ code });
    await expect(tokens.revoke('b')).rejects.toMatchObject({ code });
    expect(await tokens.list()).toHaveLength(1);
  });

  test.each([
    ['no JSON', '{'],
    ['another format', '{"format": "blindbeat requests", "version": 1, "tokens": []}'],
    ['a later version', '{"format": "blindbeat tokens", "version": 2, "tokens": []}'],
    [
      'a scope that there is not',
      '{"format": "blindbeat tokens", "version": 1, "tokens": [{"scopes": ["root"]}]}',
    ],
  ])('when the file holds %s, then it says so and nobody gets in', async (_, text) => {
    const file = join(temporaryFolder(), 'tokens.json');
    writeFileSync(file, text);
    await expect(new TokenFile(file).isRequired()).rejects.toMatchObject({ code: 'FORMAT' });
    await expect(new TokenFile(file).verify(`bb_${'0'.repeat(16)}_${'A'.repeat(43)}`)).rejects.toMatchObject({
      code: 'FORMAT',
    });
  });
});
