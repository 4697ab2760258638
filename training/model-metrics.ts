import type { Ascent } from './ascent.ts';
import type { CorpusEvaluation } from './evaluate.ts';
import type { Ranges } from './ranges.ts';

/** The content of metrics.json. */
export interface ModelMetrics {
  validation: CorpusEvaluation;
  test: CorpusEvaluation;
  ranges: {
    /** Over every record and its negative. */
    records: Ranges;
    hostile: Ranges;
    /** Of a polynomial network: how many times larger values would have to be to wrap around in the plan. */
    margins?: Margins;
    /** And what gradient ascent with the weights in hand reaches from records and hostile inputs: no gate. */
    ascent?: Ascent;
  };
  scoreLimit: number;
  /** The epoch whose weights these are, of how many, and the hours that they took. */
  chosenEpoch: number;
  epochs: number;
  hours: number;
  backend: string;
  node: string;
  machine: string;
  /** What else a reader of the figures must know, in sentences; added by hand. */
  remarks?: string[];
}

/** Factors between the largest values that were seen and what wraps around under the plan's primes. */
export interface Margins {
  scores: number;
  /** Of each block's squares. */
  squares: number[];
}
