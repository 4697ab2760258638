import { BlindbeatError } from '../errors.ts';
import { printable } from '../schema.ts';

/** An ECG as it came out of a file: one rate, one or more leads of equal length in mV (NaN where missing). */
export interface Recording {
  name: string;
  /** Samples per second. */
  rate: number;
  leads: Lead[];
}

/** One lead of a recording. */
export interface Lead {
  name: string;
  /** Samples in millivolts; NaN where one is missing. */
  mv: Float64Array;
}

/**
 * The lead called `lead` (upper or lower case), or the lead with that number, counted from 1; the first by
 * default.
 *
 * @throws BlindbeatError ECG with the leads that there are
 */
export function selectLead(recording: Recording, lead: string | number = 1): Lead {
  const wanted = String(lead).trim().toLowerCase();
  const found =
    recording.leads.find((l) => l.name.toLowerCase() === wanted) ??
    (/^\d+$/.test(wanted) ? recording.leads[Number(wanted) - 1] : undefined);
  if (found) return found;
  const names = recording.leads.map((l, i) => `${i + 1} ${printable(l.name)}`).join(', ');
  throw new BlindbeatError(
    'ECG',
    `${printable(recording.name)} has no lead "${printable(String(lead))}". It has: ${names}.`,
  );
}
