import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type ReadOptions, readRecording } from '../../src/ecg/files.ts';
import { BlindbeatError } from '../../src/errors.ts';

/**
 * Drop an ECG file and a NAME.case.json beside it into fixtures/: a new test. The WFDB files there were
 * written by wfdb-python 4.3.1 (wrsamp) or by hand; none is a real recording.
 */
interface Case {
  file: string;
  options?: ReadOptions;
  expect?: { rate: number; leads: { name: string; length: number; first: number[]; sum: number }[] };
  error?: { code: string; message: string };
}

const FIXTURES = join(import.meta.dirname, 'fixtures');
const SHARED = join(import.meta.dirname, '../../../shared/data');

describe('fixtures', () => {
  const cases = readdirSync(FIXTURES).filter((name) => name.endsWith('.case.json'));
  test('when the folder is listed then it has cases', () => {
    expect(cases.length).toBeGreaterThan(30);
  });
  for (const name of cases) {
    const fixture: Case = JSON.parse(readFileSync(join(FIXTURES, name), 'utf8'));
    const path = join(FIXTURES, fixture.file);
    const id = name.replace('.case.json', '');
    if (fixture.error) {
      const { code, message } = fixture.error;
      test(`when ${id} is read then it says "${message}"`, async () => {
        const error = await readRecording(path, fixture.options).catch((e) => e);
        expect(error).toBeInstanceOf(BlindbeatError);
        expect(error.message).toContain(message);
        expect(error.code).toBe(code);
      });
      continue;
    }
    test(`when ${id} is read then rate, leads and samples are right`, async () => {
      const recording = await readRecording(path, fixture.options);
      expect(recording.rate).toBe(fixture.expect!.rate);
      expect(recording.leads.map((l) => l.name)).toEqual(fixture.expect!.leads.map((l) => l.name));
      fixture.expect!.leads.forEach((lead, i) => {
        const { mv } = recording.leads[i];
        expect(mv.length).toBe(lead.length);
        lead.first.forEach((v, k) => {
          expect(mv[k]).toBeCloseTo(v, 5);
        });
        expect(mv.reduce((a, b) => a + b, 0)).toBeCloseTo(lead.sum, 4);
      });
    });
  }
});

// Sums in mV by wfdb-python 4.3.1: rdrecord(...).p_signal.sum(0).
const MITDB = [
  { record: '100', names: ['MLII', 'V5'], first: [-0.145, -0.065], sums: [-199094.335, -124172.38] },
  { record: '203', names: ['MLII', 'V1'], first: [-0.26, 0.065], sums: [-110155.445, 16116.655] },
];

describe.skipIf(!existsSync(join(SHARED, 'mitdb')))(
  'MIT-BIH records in ../shared (skipped where it is missing)',
  () => {
    for (const { record, names, first, sums } of MITDB) {
      test(`when record ${record} in format 212 is read then it equals what wfdb-python reads`, async () => {
        const { rate, leads } = await readRecording(join(SHARED, 'mitdb', record));
        expect(rate).toBe(360);
        expect(leads.map((l) => l.name)).toEqual(names);
        leads.forEach((lead, i) => {
          expect(lead.mv.length).toBe(650_000);
          expect(lead.mv[0]).toBeCloseTo(first[i], 9);
          expect(lead.mv.reduce((a, b) => a + b, 0)).toBeCloseTo(sums[i], 5);
        });
      });
    }
  },
);
