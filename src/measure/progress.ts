/** One piece of work whose end can be foreseen. */
export interface Task extends Disposable {
  /** `done` of the task's total is done; `what` was done last. */
  update(done: number): void;
}

export interface TaskOptions {
  /** Units of work, in the same unit as `update` counts; more exact if they are proportional to the time. */
  total: number;
  /** What the whole task may take; without it the time left is shown after the first update. */
  estimateMs?: number;
  /** Size of each unit in order, if they are not equal: lets the bar move on a terminal between updates. */
  units?: number[];
}

export type StartTask = (label: string, options: TaskOptions) => Task;
