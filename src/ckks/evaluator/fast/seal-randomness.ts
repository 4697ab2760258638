import { allPrimes, type Parameters } from '../../ring/parameters.ts';
import { type RawCiphertext, readCiphertext, writeCiphertext } from '../../seal/bytes.ts';
import type { Encryptor, Handle, SEALContext, Seal, ServerModule } from '../../seal/seal.ts';

/** Encryptions of zero under a client's public key, at the reply's one limb. Dispose it. */
export class ReplyEncryptor implements Disposable {
  readonly #seal: Seal<ServerModule>;
  readonly #encryptor: Encryptor;
  readonly #publicKey: Handle;

  /**
   * @param publicKey as SEAL saves it, at the level of the context
   * @throws BlindbeatError FORMAT for what is no public key
   */
  constructor(seal: Seal<ServerModule>, context: SEALContext, publicKey: Uint8Array) {
    this.#seal = seal;
    const key = seal.own(new seal.module.PublicKey());
    try {
      seal.guard('FORMAT', 'the evaluation keys', () => key.loadFromArray(context, publicKey));
      this.#encryptor = seal.own(new seal.module.Encryptor(context, key));
    } catch (error) {
      seal.free(key);
      throw error;
    }
    this.#publicKey = key;
  }

  [Symbol.dispose](): void {
    this.#seal.free(this.#encryptor, this.#publicKey);
  }

  /** A fresh encryption of zero. */
  encryptZero(): RawCiphertext {
    const { module } = this.#seal;
    return this.#seal.guard('INTERNAL', 'the reply', () =>
      this.#seal.using(new module.Ciphertext(), (zero) => {
        this.#encryptor.encryptZero(zero);
        return readCiphertext(zero.saveToArray(module.ComprModeType.none));
      }),
    );
  }
}

/**
 * What is random beside the kernels, and SEAL's: polynomials that were sent as seeds, expanded by its
 * generator, and fresh encryptions of zero. Its contexts have the top of the chain, and the first prime with
 * the special one, and no other level. Dispose it.
 */
export class SealRandomness implements Disposable {
  readonly seal: Seal<ServerModule>;
  /** SEAL's identifiers of fresh ciphertexts and of keys, by number of limbs. */
  readonly parmsIds: Map<number, Uint8Array>;
  readonly #parameters: Parameters;
  readonly #context: SEALContext;
  /** Of the last level alone. */
  readonly #replyContext: SEALContext;

  constructor(seal: Seal<ServerModule>, parameters: Parameters) {
    const { n, primes, special } = parameters;
    this.seal = seal;
    this.#parameters = parameters;
    this.#context = seal.context(n, allPrimes(parameters), false);
    this.parmsIds = seal.parmsIds(this.#context);
    this.#replyContext = seal.context(n, [primes[0], special], false);
  }

  [Symbol.dispose](): void {
    this.seal.free(this.#context, this.#replyContext);
  }

  /**
   * The ciphertext with its second polynomial in place of the seed.
   *
   * @param what names it in the error
   * @throws BlindbeatError FORMAT for what SEAL refuses
   */
  expand(raw: RawCiphertext, kind: 'Ciphertext' | 'PublicKey', what: string): RawCiphertext {
    const { seal } = this;
    const { module } = seal;
    return seal.using(new module[kind](), (handle) => {
      seal.guard('FORMAT', what, () => handle.loadFromArray(this.#context, writeCiphertext(raw)));
      return readCiphertext(handle.saveToArray(module.ComprModeType.none));
    });
  }

  /**
   * What encrypts zero under a client's public key.
   *
   * @throws BlindbeatError FORMAT for what is no public key
   */
  replyEncryptor(publicKey: RawCiphertext): ReplyEncryptor {
    return new ReplyEncryptor(this.seal, this.#replyContext, this.#replyPublicKey(publicKey));
  }

  /** A public key as SEAL saves it, without the limbs that the reply's level does not have. */
  #replyPublicKey(raw: RawCiphertext): Uint8Array {
    const { n, primes } = this.#parameters;
    const { words } = this.expand(raw, 'PublicKey', 'the evaluation keys');
    const limbs = primes.length + 1;
    const kept = new Uint32Array(8 * n);
    [0, limbs - 1, limbs, 2 * limbs - 1].forEach((limb, k) => {
      kept.set(words.subarray(2 * n * limb, 2 * n * (limb + 1)), 2 * n * k);
    });
    const parmsId = this.seal.parmsIds(this.#replyContext).get(2)!;
    return writeCiphertext({ ...raw, seed: undefined, parmsId, limbs: 2, words: kept });
  }
}
