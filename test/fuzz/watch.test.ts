import { join } from 'node:path';
import { expect, test } from 'vitest';
import { watch } from '../../fuzz/watch.ts';

const child = join(import.meta.dirname, 'hanging-child.ts');

test('when a case hangs or ends the process, then it is named and all others are counted once', async () => {
  const range = { name: 'requests', seed: 1, from: 0, to: 8 };
  const { violations, formats } = await watch(range, () => {}, { child, hangMs: 500 });
  expect(violations).toMatchObject([
    { index: 3, attack: 'attack 3', what: 'takes more than 0.5 s' },
    { index: 5, attack: 'attack 5', what: expect.stringContaining('gone') },
  ]);
  expect(formats.one.cases).toBe(6);
});
