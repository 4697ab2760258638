/**
 * What the heart does in a synthetic ECG: sinus rhythm, atrial fibrillation, sinus rhythm with premature
 * ventricular beats; `noise` is a sinus rhythm that can hardly be seen.
 */
export const RHYTHMS = ['normal', 'af', 'ectopic', 'noise'] as const;
/** One of `RHYTHMS`. */
export type Rhythm = (typeof RHYTHMS)[number];
