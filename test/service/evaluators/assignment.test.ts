import { describe, expect, test } from 'vitest';
import { nextAssignment, type Seat, type Waiting } from '../../../src/service/evaluators/assignment.ts';

/** A worker that has these clients' keys; one that is busy is named in capitals. */
function seat(name: string, keys = ''): Seat & { name: string } {
  const free = name !== name.toUpperCase();
  return { name, free, loadedKeys: keys.length, has: (key) => keys.includes(key) };
}

const jobs = (keys: string, overtaken: number[] = []): Waiting[] =>
  [...keys].map((key, k) => ({ keys: key, overtaken: overtaken[k] ?? 0 }));

/** Which of the jobs goes first, and where. */
function first(waiting: Waiting[], seats: ReturnType<typeof seat>[], loadKeysMs = 0, evaluateMs = 0) {
  const next = nextAssignment(waiting, seats, () => ({ loadKeysMs, evaluateMs }));
  return next && [waiting.indexOf(next.job), next.seat.name];
}

describe('nextAssignment', () => {
  test.each([
    ['nobody is free', 'xy', [seat('A', 'x')], null],
    ['nobody waits', '', [seat('a', 'x')], null],
    ['one is free', 'xy', [seat('a')], [0, 'a']],
    ['one has the keys', 'x', [seat('a', 'z'), seat('b', 'yx')], [0, 'b']],
    ['nobody has the keys', 'x', [seat('a', 'yz'), seat('b', 'y'), seat('c', 'yz')], [0, 'b']],
    ['the one that is free has the keys of a later job', 'xyz', [seat('A', 'x'), seat('b', 'z')], [2, 'b']],
  ])('when %s, then the job and the worker are the right ones', (_, keys, seats, expected) => {
    expect(first(jobs(keys), seats)).toEqual(expected);
  });

  test('when a busy worker has the keys, then the job waits for it only where that is quicker', () => {
    const seats = [seat('A', 'x'), seat('b')];
    expect(first(jobs('x'), seats, 500, 400)).toEqual(null);
    expect(first(jobs('x'), seats, 400, 400)).toEqual([0, 'b']);
    expect(first(jobs('xy'), seats, 500, 400)).toEqual([1, 'b']);
    expect(first(jobs('xx'), seats, 500, 400)).toEqual([1, 'b']); // the second would have to wait for two
    expect(first(jobs('xxx'), seats, 1000, 400)).toEqual([2, 'b']);
  });

  test('when a job was overtaken often enough, then it goes first, wherever its keys are', () => {
    const seats = [seat('A', 'x'), seat('b', 'y')];
    expect(first(jobs('xy', [3]), seats, 500, 400)).toEqual([1, 'b']);
    expect(first(jobs('xy', [4]), seats, 500, 400)).toEqual([0, 'b']);
    expect(first(jobs('xy', [4]), [seat('b', 'y'), seat('c', 'zx')])).toEqual([0, 'c']);
  });
});
