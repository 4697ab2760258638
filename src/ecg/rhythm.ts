/** The synthetic ECGs that can be made. */
export const RHYTHMS = ['normal', 'af', 'ectopic', 'noise'] as const;

export type Rhythm = (typeof RHYTHMS)[number];
