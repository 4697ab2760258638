import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { concurrently } from '../../src/client/concurrently.ts';

const { signal } = new AbortController();
const items = [...Array(10).keys()];

describe('concurrently', () => {
  test('when there is work then all is done, so many at a time and no more', async () => {
    const done: [number, number][] = [];
    let now = 0;
    let most = 0;
    await concurrently(items, { atOnce: 3, signal }, async (item, index) => {
      most = Math.max(most, ++now);
      await sleep(item % 3);
      now--;
      done.push([item, index]);
    });
    expect(most).toBe(3);
    expect(done.sort(([a], [b]) => a - b)).toEqual(items.map((item) => [item, item]));
  });

  test('when one fails then the others are told, no more begin, and its error is thrown when they have ended', async () => {
    const ends: number[] = [];
    const failing = concurrently(items, { atOnce: 3, signal }, async (item, _, signal) => {
      if (item === 1) throw new Error('no');
      await sleep(20);
      ends.push(item);
      signal.throwIfAborted();
    });
    await expect(failing).rejects.toThrow('no');
    expect(ends.sort()).toEqual([0, 2]);
  });

  test('when it is aborted then it ends with the reason', async () => {
    const controller = new AbortController();
    const begun: number[] = [];
    const work = concurrently(items, { atOnce: 2, signal: controller.signal }, async (item) => {
      begun.push(item);
      controller.abort(new Error('enough'));
      await sleep(1);
    });
    await expect(work).rejects.toThrow('enough');
    expect(begun).toEqual([0]);
  });

  test('when there is nothing to do then it is done', async () => {
    await concurrently([], { atOnce: 4, signal }, async () => {
      throw new Error('there is nothing');
    });
    expect(signal.aborted).toBe(false);
  });
});
