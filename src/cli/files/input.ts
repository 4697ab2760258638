import { parseCalibration } from '../../ckks/calibrate.ts';
import type { Costs } from '../../ckks/planner/cost.ts';
import { type ParsedManifest, parseManifest } from '../../ckks/wire/manifest.ts';
import { BlindbeatError } from '../../errors.ts';
import { inFile, readWhole } from '../../files/input.ts';

const MAX_JSON_BYTES = 1 << 20;

/**
 * Reads and checks a manifest.
 *
 * @throws BlindbeatError FILE or FORMAT
 */
export async function readManifest(path: string): Promise<ParsedManifest> {
  return readJson(path, 'manifest', parseManifest);
}

/**
 * Reads the costs that `blindbeat bench --calibrate` wrote.
 *
 * @throws BlindbeatError FILE or FORMAT
 */
export async function readCosts(path: string): Promise<Costs> {
  return readJson(path, 'cost file', (value) => parseCalibration(value).costs);
}

async function readJson<T>(path: string, what: string, parse: (value: unknown) => T): Promise<T> {
  const limit = { what: `a blindbeat ${what}`, limit: MAX_JSON_BYTES, tooLarge: 'FORMAT' } as const;
  const text = new TextDecoder().decode(await readWhole(path, limit));
  return inFile(path, async () => parse(parseJson(text, what)));
}

function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new BlindbeatError('FORMAT', `not a usable ${what}: it is no JSON`, { cause });
  }
}
