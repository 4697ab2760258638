import { BlindbeatError } from '../errors.ts';
import type { LoadedEvaluationKeys } from './evaluator/executor.ts';
import { packedCiphertext, packedDigits } from './evaluator/packed-ciphertext.ts';
import { type PlannedKey, plannedKeys } from './keyswitch/key-set.ts';
import { publicKeySize, switchingKeySize } from './keyswitch/key-size.ts';
import { ContainerReader } from './wire/container.ts';
import type { ParsedManifest } from './wire/manifest.ts';

/** How a client's evaluation keys are loaded. */
export interface LoadOptions {
  /** Called after each key with the number done and to do. */
  onKey?: (done: number, total: number) => void;
  /** The key pair that they must be of; without it, any. */
  keyId?: string;
  /**
   * `false` leaves out the file's SHA-256, for a file that was loaded before and kept where nothing changes it.
   * Residues are checked all the same: what is damaged gives its own client wrong replies and does nothing else.
   */
  checksum?: boolean;
}

/** Loads one client's evaluation keys file while it arrives; one key of it is held at a time. Dispose it. */
export class KeyLoader implements Disposable {
  readonly #planned: PlannedKey[];
  readonly #reader: ContainerReader<'evaluation keys'>;
  readonly #createKeys: (planned: PlannedKey[]) => LoadedEvaluationKeys;
  readonly #onKey: (done: number, total: number) => void;
  #loaded: LoadedEvaluationKeys | null = null;
  #done = 0;
  #ended = false;

  /** @param createKeys makes room for the keys; called when the first one is there */
  constructor(
    { parameters, keys, planHash }: ParsedManifest,
    createKeys: (planned: PlannedKey[]) => LoadedEvaluationKeys,
    { onKey = () => {}, keyId, checksum }: LoadOptions,
  ) {
    this.#planned = plannedKeys(parameters, keys);
    this.#createKeys = createKeys;
    this.#onKey = onKey;
    const sizes = this.#planned.map(({ gadget }) => switchingKeySize(parameters, gadget));
    const parts = [...sizes, publicKeySize(parameters)];
    this.#reader = new ContainerReader('evaluation keys', { planHash, keyId }, parts, { checksum });
  }

  /**
   * Takes the next bytes of the file, which may be changed afterwards, and loads the keys that are complete.
   *
   * @throws BlindbeatError FORMAT or MISMATCH for what is not to this plan and key pair; ENVIRONMENT when there is
   * no room; USAGE for what are no bytes, and after the end
   */
  write(piece: Uint8Array): void {
    for (const part of this.#push(piece)) this.#load(part);
  }

  /**
   * Says that the file is complete.
   *
   * @returns the keys, which are the caller's now
   * @throws BlindbeatError FORMAT for a file that is cut off or damaged; USAGE after the end
   */
  finish(): { keyId: string; loaded: LoadedEvaluationKeys } {
    this.#requireOpen();
    return this.#handOver(this.#reader.end().keyId);
  }

  /** `write` and `finish` of a whole file, which is checked before anything of it is loaded. */
  loadWhole(file: Uint8Array): { keyId: string; loaded: LoadedEvaluationKeys } {
    const parts = [...this.#push(file)]; // all of them lie in the file
    const { keyId } = this.#reader.end();
    for (const part of parts) this.#load(part);
    return this.#handOver(keyId);
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    this.#loaded?.[Symbol.dispose]();
    this.#loaded = null;
  }

  #push(piece: Uint8Array): Iterable<Uint8Array> {
    this.#requireOpen();
    if (!(piece instanceof Uint8Array))
      throw new BlindbeatError('USAGE', 'expected a file of evaluation keys as bytes, or pieces of bytes');
    return this.#reader.push(piece);
  }

  #load(part: Uint8Array): void {
    this.#loaded ??= this.#createKeys(this.#planned);
    const planned = this.#planned.at(this.#done);
    if (planned) this.#loaded.setSwitchingKey(planned, packedDigits(part, planned.gadget));
    else this.#loaded.setPublicKey(packedCiphertext(part));
    this.#onKey(++this.#done, this.#planned.length + 1);
  }

  #handOver(keyId: string): { keyId: string; loaded: LoadedEvaluationKeys } {
    const loaded = this.#loaded!;
    this.#loaded = null;
    this.#ended = true;
    return { keyId, loaded };
  }

  #requireOpen(): void {
    if (this.#ended)
      throw new BlindbeatError('USAGE', 'this loading of evaluation keys is over: start another one');
  }
}
