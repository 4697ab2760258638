import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { craftingFor, craftReplies, readCrafted } from '../../attacks/recovery/crafted.ts';
import { openRequest } from '../../attacks/recovery/open-request.ts';
import { solveReplies } from '../../attacks/recovery/passive.ts';
import { type Reading, readingOf } from '../../attacks/recovery/replies.ts';
import { joinParts, keyCoefficients, keyResidues, TernaryParts } from '../../attacks/recovery/ternary.ts';
import { Victim } from '../../attacks/recovery/victim.ts';
import { requestDigest } from '../../src/ckks/wire/reply.ts';
import { resultJson } from '../../src/cli/terminal/result.ts';
import { round } from '../../src/measure/format.ts';

type Trip = { request: Uint8Array; reply: Uint8Array };

/** Parts of the key that the test's attacker has to find; the others are told, to make the test short. */
const SOUGHT = 32;

let victim: Victim;
let reading: Reading;
let key: Int8Array;

beforeAll(async () => {
  victim = await Victim.open(8192, 1);
  reading = readingOf(victim.manifest);
  key = keyCoefficients(victim.residues, victim.manifest.parameters);
});
afterAll(() => victim[Symbol.dispose]());

/** The scores that the client would publish, in the order of the classes, with so many decimals. */
function published(trip: Trip, decimals: 'all' | 3 | 2): number[] {
  const { manifest } = victim;
  const { scores } = resultJson({ scores: victim.scores(trip) }, manifest, decimals !== 3);
  return manifest.classes.map((name) => (decimals === 2 ? round(scores[name], 2) : scores[name]));
}

function partOf(r: number): Int8Array {
  return Int8Array.from({ length: reading.size }, (_, t) => key[r + t * reading.parts]);
}

describe('a server that computes honestly and is told the scores', () => {
  test('when they are exact, then two replies for every eight coefficients give the key; when rounded, not', async () => {
    const { manifest } = victim;
    const secretSegment = victim.segment();
    const { request } = victim.ask(secretSegment);
    const trips = Array.from({ length: 2 * SOUGHT }, () => victim.ask(victim.segment()));
    const replies = trips.map((trip) => trip.reply);
    const ways = (['all', 3, 2] as const).map((decimals) => trips.map((trip) => published(trip, decimals)));
    const known = new Map(
      Array.from({ length: reading.parts - SOUGHT }, (_, i) => [SOUGHT + i, partOf(SOUGHT + i)]),
    );
    const table = new TernaryParts(reading);
    const found = solveReplies({ replies, scores: ways }, manifest, reading, table, known)!;
    const parts = found.map((way) => way.filter((part) => part !== undefined));
    expect(parts.map((way) => way.length - known.size)).toEqual([SOUGHT, 0, 0]);
    const recovered = keyResidues(joinParts(parts[0]), manifest.parameters);
    expect(recovered).toEqual(victim.residues);
    const read = await openRequest(request, manifest, recovered);
    expect(Math.max(...read.map((x, i) => Math.abs(x - secretSegment[i])))).toBeLessThan(1e-5);
  });
});

describe('a server that sends what it likes and is told the scores', () => {
  test.each([
    ['all their digits', 'all', 0, 6, 1],
    ['three decimals', 3, 0.0005, 2, 1],
    ['two decimals', 2, 0.005, 1, 2],
  ] as const)(
    'when scores have %s, then crafted replies read the key, whatever the client checks',
    (_, decimals, error, digits, times) => {
      const { manifest, secret } = victim;
      const { request } = victim.ask(victim.segment());
      const names = { keyId: secret.keyId, request: requestDigest(request) };
      const crafting = craftingFor(manifest, error);
      expect([crafting.digits, crafting.shifts.length]).toEqual([digits, times]);
      const parts: Int8Array[] = [];
      for (let first = 0; first < SOUGHT; first += digits) {
        const sent = craftReplies(manifest, names, reading, crafting, first);
        const scores = sent.map((reply) => published({ request, reply }, decimals));
        parts.push(...readCrafted(scores, manifest, crafting));
      }
      expect(parts.slice(0, SOUGHT)).toEqual(Array.from({ length: SOUGHT }, (_, r) => partOf(r)));
    },
  );
});
