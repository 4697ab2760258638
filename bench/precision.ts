/**
 * Where precision goes: the error of every slot after each stage, decrypted beside the same computation on
 * floats.
 *
 *   node bench/precision.ts [--model NAME|DIR] [--rhythm normal]
 *
 * Uses the secret key in the middle of the network, which only a benchmark may.
 */
import { parseArgs } from 'node:util';
import type { Backend } from '../src/ckks/evaluator/backend.ts';
import { ClearBackend, type ClearValue } from '../src/ckks/evaluator/clear.ts';
import { encodeProgram, run } from '../src/ckks/evaluator/program.ts';
import { SealBackend, SealEngine } from '../src/ckks/evaluator/seal/backend.ts';
import { compile } from '../src/ckks/planner/compile.ts';
import type { PeriodicPlain } from '../src/ckks/ring/periodic-encoder.ts';
import { type Ciphertext, type ClientModule, loadSeal } from '../src/ckks/seal/seal.ts';
import { packSegment } from '../src/ckks/wire/reply.ts';
import { prepareSegment } from '../src/ecg/preprocess.ts';
import type { Rhythm } from '../src/ecg/rhythm.ts';
import { synthesise } from '../src/ecg/synth.ts';
import { machine } from '../src/measure/machine.ts';
import { loadModel } from '../src/model/files.ts';

const SEED = 1;
const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'deepcardio-deg2' },
    rhythm: { type: 'string', default: 'normal' },
  },
});
const model = await loadModel(values.model);
const { circuit, plan } = compile(model, { keySwitching: 'per-prime' });
const { manifest } = plan;
const seal = await loadSeal<ClientModule>();
const { module } = seal;
using engine = new SealEngine(seal, circuit.parameters);
const { context } = engine;
const generator = seal.own(new module.KeyGenerator(context));
const secret = seal.own(generator.secretKey());
const decryptor = seal.own(new module.Decryptor(context, secret));
const encoder = seal.own(new module.CKKSEncoder(context));
using encrypted = new SealBackend(engine, {
  relinearisation: seal.own(generator.createRelinKeys()),
  galois: new Map(
    manifest.keys.galois.map(({ step }) => [
      step,
      seal.own(generator.createGaloisKeysWithSteps(Int32Array.of(step))),
    ]),
  ),
});
const clear = new ClearBackend();

/** A ciphertext beside what it should hold. */
interface Pair {
  ciphertext: Ciphertext;
  slots: ClearValue;
}

interface PlainPair {
  residues: PeriodicPlain;
  values: ClearValue;
}

/** Errors of the values rescaled since the last stage ended. */
let rescaled: { errors: Float64Array; slots: Float64Array }[] = [];

function decrypt(ciphertext: Ciphertext): Float64Array {
  return seal.using(new module.Plaintext(), (plain) => {
    decryptor.decrypt(ciphertext, plain);
    return encoder.decodeFloat64(plain) as Float64Array;
  });
}

/** Runs both computations side by side. */
const pairs: Backend<Pair, PlainPair> = {
  encode: (real, scale, limbs, imaginary) => ({
    residues: encrypted.encode(real, scale, limbs, imaginary),
    values: clear.encode(real, scale, limbs, imaginary),
  }),
  rotate: (v, step) => ({
    ciphertext: encrypted.rotate(v.ciphertext, step),
    slots: clear.rotate(v.slots, step),
  }),
  rotateAll: (vs, steps) => steps.map((step) => vs.map((v) => pairs.rotate(v, step))),
  add: (a, b) => ({
    ciphertext: encrypted.add(a.ciphertext, b.ciphertext),
    slots: clear.add(a.slots, b.slots),
  }),
  addPlain: (v, p) => ({
    ciphertext: encrypted.addPlain(v.ciphertext, p.residues),
    slots: clear.addPlain(v.slots, p.values),
  }),
  multiplyPlainSum: (vs, rows) => {
    const ciphertexts = encrypted.multiplyPlainSum(
      vs.map((v) => v.ciphertext),
      rows.map((row) => row.map((p) => p?.residues ?? null)),
    );
    const slots = clear.multiplyPlainSum(
      vs.map((v) => v.slots),
      rows.map((row) => row.map((p) => p?.values ?? null)),
    );
    return ciphertexts.map((ciphertext, o) => ciphertext && { ciphertext, slots: slots[o]! });
  },
  square: (v) => ({ ciphertext: encrypted.square(v.ciphertext), slots: clear.square(v.slots) }),
  multiply: (a, b, times) => ({
    ciphertext: encrypted.multiply(a.ciphertext, b.ciphertext, times),
    slots: clear.multiply(a.slots, b.slots, times),
  }),
  dropLevel: (v, limbs, times) => ({
    ciphertext: encrypted.dropLevel(v.ciphertext, limbs, times),
    slots: clear.dropLevel(v.slots, limbs, times),
  }),
  relinearise: (v) => ({ ciphertext: encrypted.relinearise(v.ciphertext), slots: v.slots }),
  rescale: (v, scale) => {
    const pair = { ciphertext: encrypted.rescale(v.ciphertext, scale), slots: v.slots };
    const decrypted = decrypt(pair.ciphertext);
    const { real } = pair.slots;
    rescaled.push({ errors: decrypted.map((x, j) => x - real[j]), slots: real });
    return pair;
  },
  free: (v) => encrypted.free(v.ciphertext),
};

const recording = synthesise({ rhythm: values.rhythm as Rhythm, seconds: 30, rate: 300, seed: SEED });
const { samples } = prepareSegment(recording.leads[0].mv, recording.rate, model.preprocessing);
const slots = packSegment(samples, circuit.parameters.n / 2);
const publicKey = seal.own(generator.createPublicKey());
const encryptor = seal.own(new module.Encryptor(context, publicKey, secret));
const plain = seal.own(new module.Plaintext());
encoder.encode(slots, circuit.inputScale, plain);
const ciphertext = seal.own(new module.Ciphertext());
encryptor.encryptSymmetric(plain, ciphertext);

console.log(machine());
console.log(`${model.name}, synthetic ECG (${values.rhythm}, seed ${SEED}), log2 of errors over all slots`);
const log = (x: number) => Number(Math.log2(x).toFixed(1));
const rows: object[] = [];
run(
  pairs,
  encodeProgram(pairs, circuit),
  { ciphertext, slots: { real: slots, imaginary: null } },
  (stage) => {
    if (rescaled.length > 0) {
      const errors = rescaled.flatMap((r) => [...r.errors]);
      const exact = rescaled.flatMap((r) => [...r.slots]);
      const rms = (v: number[]) => Math.sqrt(v.reduce((sum, x) => sum + x * x, 0) / v.length);
      rows.push({
        stage: stage.name,
        'scale (bits)': log(stage.scaleOut),
        'rms value': Number(rms(exact).toPrecision(3)),
        'rms error': log(rms(errors)),
        'largest error': log(errors.reduce((most, e) => Math.max(most, Math.abs(e)), 0)),
      });
    }
    rescaled = [];
  },
);
console.table(rows);
