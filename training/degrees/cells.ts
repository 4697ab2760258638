import type { Method } from '../../src/approx/approximation.ts';

/** Methods by which a cell's polynomials are chosen. */
export type CellMethod = Extract<Method, 'chebyshev' | 'least-squares' | 'minimax'>;

/**
 * `replace`: polynomials in place of a trained network's ReLUs, and nothing else; `finetune`: trained on from
 * there; `retrain`: trained with polynomials from random weights on.
 */
export type Mode = 'replace' | 'finetune' | 'retrain';

/** One cell of the study: a network whose activations are polynomials of one degree. */
export interface Cell {
  mode: Mode;
  method: CellMethod;
  degree: number;
}

/** The cells that are asked for. */
export interface Grid {
  degrees: number[];
  /** Of `finetune` and `retrain`; default: the same. */
  trainedDegrees?: number[];
  methods: CellMethod[];
  modes: Mode[];
}

/** The cells of a grid: every method for `replace`, one for what is trained. */
export function cellsOf({ degrees, trainedDegrees = degrees, methods, modes }: Grid): Cell[] {
  return modes.flatMap((mode) =>
    (mode === 'replace' ? methods : [trainedMethod(methods)]).flatMap((method) =>
      (mode === 'replace' ? degrees : trainedDegrees).map((degree) => ({ mode, method, degree })),
    ),
  );
}

/** The method of what is trained, and of what is encrypted. */
export function trainedMethod(methods: CellMethod[]): CellMethod {
  return methods.includes('least-squares') ? 'least-squares' : methods[0];
}
