import { expect, test } from 'vitest';
import { startParts, type TaskOptions } from '../../src/measure/progress.ts';

test('when parts of a task are done then it is told their estimated milliseconds', () => {
  const told: unknown[] = [];
  const start = (label: string, options: TaskOptions) => {
    told.push(label, options);
    return { update: (done: number) => told.push(done), [Symbol.dispose]: () => told.push('end') };
  };
  {
    using task = startParts(start, 'work', [5, 1, 4]);
    for (const k of [0, 2, 3]) task.update(k);
  }
  expect(told).toEqual(['work', { total: 10, estimateMs: 10, units: [5, 1, 4] }, 0, 6, 10, 'end']);
});
