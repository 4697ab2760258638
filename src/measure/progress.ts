/** One piece of work whose end can be foreseen. */
export interface Task extends Disposable {
  /** `done` of the task's total is done. */
  update(done: number): void;
}

/** How much work a task is. */
export interface TaskOptions {
  /** Units of work, in the same unit as `update` counts; more exact if they are proportional to the time. */
  total: number;
  /** What the whole task may take; without it the time left is shown after the first update. */
  estimateMs?: number;
  /** Size of each unit in order, if they are not equal: lets the bar move on a terminal between updates. */
  units?: number[];
}

/** Begins to show a task; disposing the task ends it. */
export type StartTask = (label: string, options: TaskOptions) => Task;

/** Who watches long work, and who can end it. */
export interface Watch {
  start: StartTask;
  signal: AbortSignal;
}

/** Begins a task of parts that take `estimatesMs` each: `update(k)` says that the first k parts are done. */
export function startParts(start: StartTask, label: string, estimatesMs: number[]): Task {
  const ends = [0];
  for (const ms of estimatesMs) ends.push(ends[ends.length - 1] + ms);
  const total = ends[ends.length - 1];
  const task = start(label, { total, estimateMs: total, units: estimatesMs });
  return {
    update: (k) => task.update(ends[k]),
    [Symbol.dispose]: () => task[Symbol.dispose](),
  };
}
