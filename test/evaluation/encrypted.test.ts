import { expect, test } from 'vitest';
import { synthesise } from '../../src/ecg/synth.ts';
import { byLocalServer, evaluateEncrypted } from '../../src/evaluation/encrypted.ts';
import { UNNAMED } from '../../src/evaluation/metrics.ts';
import { evaluateRecords, type LabelledRecording } from '../../src/evaluation/outcome.ts';
import { serverHere, UNWATCHED } from '../helpers/local-server.ts';
import { randomModel } from '../helpers/random-model.ts';

const model = randomModel({ samples: 2048, channels: [4] });
const watch = { ...UNWATCHED, signal: new AbortController().signal };
const ecg = synthesise({ rhythm: 'af', seconds: 12, rate: 300, seed: 3 });
const flat = { ...ecg, leads: [{ name: 'ECG', mv: new Float64Array(3600) }] };
const records: LabelledRecording[] = [
  { id: 'r1', label: 'A', recording: () => ecg },
  { id: 'r2', label: 'N', recording: () => flat },
  { id: 'r3', label: 'O', recording: () => ecg },
];

test('when records are evaluated under encryption then all that is known of them is data', async () => {
  using server = await serverHere(model);
  const clear = await evaluateRecords(model, records, watch);
  const chosen = records.slice(0, 2);
  const by = byLocalServer(server, watch);
  const found = await evaluateEncrypted(model, chosen, clear, { ...by, seed: 1, ...watch });
  expect(JSON.parse(JSON.stringify(found))).toEqual(found); // no closure, no text to print
  expect(found.outcomes).toEqual([
    expect.objectContaining({ id: 'r1', label: 'A', named: clear[0].named, ms: expect.any(Number) }),
    { id: 'r2', label: 'N', named: UNNAMED, reason: expect.stringContaining('flat') },
  ]);
  expect(found.agreement).toMatchObject({ compared: 1, sameClass: 1 });
  expect(found.agreement.maxError).toBeGreaterThan(0); // it was encrypted
  expect(found.evaluation.unnamed).toEqual([1, 0, 0, 0]);
  expect(found.times).toEqual({
    medianMs: found.outcomes[0].ms,
    minMs: found.outcomes[0].ms,
    threads: 1,
  });
  expect(Object.keys(found.setupMs)).toEqual(['keygen', 'upKeys', 'loadKeys']);
  expect(server.asked).toEqual(['sendKeys', 'loadKeys', 'infer']);
});
