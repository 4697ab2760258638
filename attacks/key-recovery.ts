/**
 * The secret key from scores that a client sent back, at full size: a client and a server on a plan of the
 * least network, since the attack needs nothing of it but replies.
 *
 *   node attacks/key-recovery.ts [--n 16384] [--seed 1] [--out FILE]
 *
 * Keys and encryptions are random, as always; the seed makes the segments. At N = 16384 it takes about a
 * quarter of an hour and 0.5 GB. What honest replies gave is taken from FILE if it is there already.
 */
import { existsSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { requestDigest } from '../src/ckks/wire/reply.ts';
import { writeOutput } from '../src/files/output.ts';
import { round } from '../src/measure/format.ts';
import { machine } from '../src/measure/machine.ts';
import { craftingFor, craftReplies, readCrafted } from './recovery/crafted.ts';
import { openRequest } from './recovery/open-request.ts';
import { solveReplies } from './recovery/passive.ts';
import { readingOf } from './recovery/replies.ts';
import { joinParts, keyCoefficients, keyResidues, TernaryParts } from './recovery/ternary.ts';
import { Victim } from './recovery/victim.ts';

const { values } = parseArgs({
  options: {
    n: { type: 'string', default: '16384' },
    seed: { type: 'string', default: '1' },
    out: { type: 'string' },
  },
});
const n = Number(values.n);
const seed = Number(values.seed);
const started = performance.now();
const seconds = () => Math.round((performance.now() - started) / 1000);
const say = (line: string) => console.log(`${seconds()} s  ${line}`);

using victim = await Victim.open(n, seed);
const { manifest, secret } = victim;
const reading = readingOf(manifest);
const key = keyCoefficients(victim.residues, manifest.parameters);
const segment = victim.segment();
const { request } = victim.ask(segment);
const names = { keyId: secret.keyId, request: requestDigest(request) };

const disclosures = [
  { decimals: 'all', error: 0, told: (s: number) => s },
  { decimals: '3', error: 0.0005, told: (s: number) => round(s, 3) },
  { decimals: '2', error: 0.005, told: (s: number) => round(s, 2) },
];
const table = new TernaryParts(reading);
const earlier = values.out && existsSync(values.out) ? JSON.parse(readFileSync(values.out, 'utf8')) : {};
const passive = earlier.n === n ? earlier.honestReplies : await honest();
const active = [];
for (const disclosure of disclosures) active.push(await crafted(disclosure));
const result = {
  command: `node attacks/key-recovery.ts --n ${n} --seed ${seed}`,
  n,
  log2q: Math.log2(reading.q),
  seed,
  machine: machine(),
  honestReplies: passive,
  craftedReplies: active,
};
if (values.out) await writeOutput(values.out, `${JSON.stringify(result, null, 2)}\n`);
else console.log(JSON.stringify(result, null, 2));

/** A server that computes honestly: linear algebra. */
async function honest() {
  const count = 2 * reading.parts;
  const replies: Uint8Array[] = [];
  const scores: number[][] = [];
  for (let i = 0; i < count; i++) {
    const trip = victim.ask(victim.segment());
    replies.push(trip.reply);
    scores.push(victim.scores(trip));
    if (i % 256 === 255) say(`honest replies: ${i + 1} of ${count}`);
  }
  const collected = seconds();
  const ways = disclosures.map(({ told }) => scores.map((row) => row.map(told)));
  const onProgress = (done: number) => {
    if (done % 512 === 0) say(`unknowns eliminated: ${done} of ${count}`);
  };
  const found = solveReplies({ replies, scores: ways }, manifest, reading, table, new Map(), onProgress);
  const solved = seconds() - collected;
  const outcomes = [];
  for (const [k, { decimals }] of disclosures.entries()) {
    const parts = found?.[k].filter((part) => part !== undefined) ?? [];
    outcomes.push({ decimals, partsFound: parts.length, parts: reading.parts, ...(await verdict(parts)) });
    say(`honest replies, ${decimals} decimals: ${JSON.stringify(outcomes.at(-1))}`);
  }
  return { replies: count, seconds: { collecting: collected, solving: solved }, outcomes };
}

/** A server that sends what it likes. */
async function crafted({ decimals, error, told }: (typeof disclosures)[number]) {
  const crafting = craftingFor(manifest, error);
  const parts: Int8Array[] = [];
  let replies = 0;
  for (let first = 0; first < reading.parts; first += crafting.digits) {
    const sent = craftReplies(manifest, names, reading, crafting, first);
    const scores = sent.map((reply) => victim.scores({ request, reply }).map(told));
    parts.push(...readCrafted(scores, manifest, crafting));
    replies += sent.length;
  }
  const outcome = { decimals, replies, ...(await verdict(parts.slice(0, reading.parts))) };
  say(`crafted replies, ${decimals} decimals: ${JSON.stringify(outcome)}`);
  return outcome;
}

/** Whether the key is right, and how far the ECG that it reads is from the one that was encrypted. */
async function verdict(parts: Int8Array[]) {
  if (parts.length < reading.parts) return { key: false };
  const s = joinParts(parts);
  if (!s.every((x, i) => x === key[i])) return { key: false };
  const read = await openRequest(request, manifest, keyResidues(s, manifest.parameters));
  return { key: true, requestReadTo: Math.max(...read.map((x, i) => Math.abs(x - segment[i]))) };
}
