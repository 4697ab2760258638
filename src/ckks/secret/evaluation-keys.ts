import { type Gadget, moduli, perPrimeGadget, primesOf } from '../keyswitch/gadget.ts';
import { keyCount, type PlannedKey, plannedKeys, switchingOf } from '../keyswitch/key-set.ts';
import { packLimbs } from '../ring/bit-packing.ts';
import type { Parameters } from '../ring/parameters.ts';
import { type RawCiphertext, readCiphertext, readSwitchingKey } from '../seal/bytes.ts';
import type { Handle } from '../seal/seal.ts';
import { concat, writeContainer } from '../wire/container.ts';
import { bodySizes } from '../wire/file-sizes.ts';
import type { ClientSeal } from './client-seal.ts';
import { addKeyTerm } from './hybrid-key.ts';
import type { SecretKey } from './secret-key.ts';

/** Called after each key with the number done and to do. */
export type OnKey = (done: number, total: number) => void;

/**
 * The evaluation keys as a file, in pieces of a digit each; one key is in memory at a time.
 *
 * @throws BlindbeatError as `SecretKey.residuesFor`, also when the key is disposed half way
 */
export function* makeEvaluationKeys(
  client: ClientSeal,
  key: SecretKey,
  onKey?: OnKey,
): Generator<Uint8Array> {
  const { manifest } = client;
  const { keys, parameters, planHash } = manifest;
  using operation = client.operation('key');
  const { module } = operation.seal;
  const none = module.ComprModeType.none;
  const secret = operation.loadSecret(key, manifest);
  const generator = operation.own(new module.KeyGenerator(operation.context, secret));
  const save = (handle: Handle & { saveToArray(mode: typeof none): Uint8Array<ArrayBuffer> }) =>
    operation.seal.using(handle, () => handle.saveToArray(none));
  /** For each digit again, since key and client may have been disposed after the last. */
  const residues = () => {
    operation.requireOpen();
    return key.residuesFor(manifest);
  };

  function* perPrimeKey({ step, gadget }: PlannedKey): Generator<Uint8Array> {
    residues();
    const saved = save(
      step === null
        ? generator.createRelinKeysSerializable()
        : generator.createGaloisKeysSerializableWithSteps(Int32Array.of(step)),
    );
    let left = gadget.digits.length;
    for (const digit of readSwitchingKey(saved)) {
      yield packDigit(digit, parameters, gadget);
      if (--left === 0) break;
    }
    release(saved);
  }
  function* hybridKey({ step, gadget }: PlannedKey): Generator<Uint8Array> {
    for (let digit = 0; digit < gadget.digits.length; digit++) {
      const content = residues();
      // A public key is a fresh encryption of zero at the key level.
      const saved = save(generator.createPublicKeySerializable());
      const raw = readCiphertext(saved);
      addKeyTerm(raw.words, content, parameters, gadget, digit, step);
      yield packDigit(raw, parameters, gadget);
      release(saved);
    }
  }
  function* pieces(): Generator<Uint8Array> {
    const total = keyCount(keys);
    let done = 0;
    for (const planned of plannedKeys(parameters, keys)) {
      yield* switchingOf(keys) === 'hybrid' ? hybridKey(planned) : perPrimeKey(planned);
      onKey?.(++done, total);
    }
    residues();
    const publicKey = readCiphertext(save(generator.createPublicKeySerializable()));
    yield packDigit(publicKey, parameters, perPrimeGadget(parameters, 1));
    onKey?.(++done, total);
  }

  const header = { planHash, keyId: key.keyId, bodyBytes: bodySizes(manifest).evaluationKeys };
  yield* writeContainer('evaluation keys', header, pieces());
}

/**
 * Gives memory back at once: SEAL's copy of one key has 28 MB, and garbage would pile up to several of them.
 */
function release(bytes: Uint8Array<ArrayBuffer>): void {
  bytes.buffer.transfer(0);
}

/** A digit of a key: its first polynomial modulo the gadget's primes, and seed. */
function packDigit({ words, seed }: RawCiphertext, parameters: Parameters, gadget: Gadget): Uint8Array {
  const { n } = parameters;
  const indices = moduli(gadget);
  const primes = primesOf(parameters, indices);
  return concat([
    ...indices.flatMap((i, k) => packLimbs(words.subarray(2 * i * n), n, [primes[k]], 2)),
    seed!,
  ]);
}
