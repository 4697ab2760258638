import initialize, { type ClassHandle, type MainModule, type SEALContext } from 'node-seal/allows';
import { BlindbeatError } from '../../errors.ts';
import { withFastDivision } from './division-patch.ts';

/**
 * The only file that imports node-seal. Every SEAL object is memory that must be freed by hand, so handles
 * are made and freed through `Seal`, which counts them. The build that allows transparent ciphertexts is used
 * because weights may round to zero at their scale.
 */
export type {
  Ciphertext,
  ClassHandle as Handle,
  Encryptor,
  GaloisKeys,
  Plaintext,
  RelinKeys,
  SEALContext,
} from 'node-seal/allows';

/** What a server may use: nothing that makes, holds or needs a secret key. */
export type ServerModule = Omit<MainModule, 'SecretKey' | 'KeyGenerator' | 'Decryptor'>;
/** What a client uses. */
export type ClientModule = MainModule;

let loading: Promise<MainModule> | undefined;

/** Loads node-seal once. */
export async function loadSeal<M extends ServerModule>(): Promise<Seal<M>> {
  try {
    loading ??= start();
    return new Seal((await loading) as unknown as M);
  } catch (cause) {
    loading = undefined;
    throw new BlindbeatError(
      'ENVIRONMENT',
      'node-seal could not be loaded: it needs Node 24 or a browser with WebAssembly exception handling ' +
        '(start blindbeat through npm or npx, which use the Node version that it pins)',
      { cause },
    );
  }
}

/**
 * node-seal with a faster division, where its module can be found and is the known one; elsewhere as it is.
 */
async function start(): Promise<MainModule> {
  const module = await compileFaster().catch(() => null);
  if (module === null) return initialize();
  return initialize({
    instantiateWasm: (imports: WebAssembly.Imports, done: (instance: WebAssembly.Instance) => void) =>
      done(new WebAssembly.Instance(module, imports)),
  });
}

async function compileFaster(): Promise<WebAssembly.Module | null> {
  const url = new URL('seal_allows.wasm', import.meta.resolve('node-seal/allows'));
  const wasm =
    url.protocol === 'file:'
      ? await process.getBuiltinModule('node:fs/promises').readFile(url) // a browser has neither
      : new Uint8Array(await (await fetch(url)).arrayBuffer());
  const faster = withFastDivision(wasm);
  return faster && WebAssembly.compile(faster);
}

/** node-seal with its handles counted. */
export class Seal<M extends ServerModule> {
  readonly module: M;
  #live = 0;

  constructor(module: M) {
    this.module = module;
  }

  /** Handles made through this object and not freed yet. */
  get live(): number {
    return this.#live;
  }

  /** Registers a handle that must be freed later. */
  own<T extends ClassHandle>(handle: T): T {
    this.#live++;
    return handle;
  }

  free(...handles: ClassHandle[]): void {
    for (const handle of handles) {
      handle.delete();
      this.#live--;
    }
  }

  /** Uses a handle for the length of a call, then frees it. */
  using<T extends ClassHandle, R>(handle: T, use: (handle: T) => R): R {
    this.own(handle);
    try {
      return use(handle);
    } finally {
      this.free(handle);
    }
  }

  /**
   * Runs SEAL code; what it throws becomes a BlindbeatError with the given code and words, ENVIRONMENT when
   * memory ran out, INTERNAL when SEAL broke down, after which its memory can no longer be trusted.
   * node-seal throws `WebAssembly.Exception`s whose message is an array [type, text].
   */
  guard<R>(code: 'FORMAT' | 'PLAN' | 'INTERNAL', what: string, f: () => R): R {
    try {
      return f();
    } catch (cause) {
      if (cause instanceof BlindbeatError) throw cause;
      if (cause instanceof WebAssembly.RuntimeError)
        throw new BlindbeatError('INTERNAL', `${what}: SEAL broke down, start the process again`, { cause });
      const { message } = cause as { message?: unknown };
      const [type, text] = Array.isArray(message) ? message : ['', message];
      if (type === 'std::bad_alloc')
        throw new BlindbeatError('ENVIRONMENT', `${what}: SEAL has no memory left, close other servers`, {
          cause,
        });
      throw new BlindbeatError(code, `${what}: SEAL says "${text}"`, { cause });
    }
  }

  /**
   * A CKKS context for the given primes (the last is the special one, unless there is only one).
   *
   * @param chain whether contexts for all levels are made too, as evaluation needs (5 s instead of 1 s at N =
   * 16384)
   * @throws BlindbeatError PLAN for parameters that SEAL refuses
   */
  context(n: number, primes: number[], chain: boolean): SEALContext {
    return this.guard('PLAN', 'the parameters', () => this.#context(n, primes, chain));
  }

  #context(n: number, primes: number[], chain: boolean): SEALContext {
    const { module } = this;
    return this.using(new module.EncryptionParameters(module.SchemeType.ckks), (parms) => {
      parms.setPolyModulusDegree(n);
      this.using(new module.VectorModulus(), (vector) => {
        for (const q of primes)
          this.using(new module.Modulus(BigInt(q)), (modulus) => vector.push_back(modulus));
        parms.setCoeffModulus(vector);
      });
      const context = this.own(new module.SEALContext(parms, chain, module.SecLevelType.tc128));
      if (!context.parametersSet()) {
        this.free(context);
        throw new BlindbeatError(
          'PLAN',
          `SEAL refuses ring degree ${n} with primes ${primes.join(', ')} at 128-bit security`,
        );
      }
      return context;
    });
  }

  /**
   * SEAL's identifiers of a context's levels, by number of limbs; the key level is at `limbs` + 1 under key
   * switching.
   */
  parmsIds(context: SEALContext): Map<number, Uint8Array> {
    const ids = new Map<number, Uint8Array>();
    let data = context.keyContextData();
    for (;;) {
      this.own(data);
      const limbs = this.using(data.parms(), (parms) =>
        this.using(parms.coeffModulus(), (moduli) => moduli.size()),
      );
      ids.set(
        limbs,
        this.using(data.parmsId(), (id) => idBytes(id.values())),
      );
      const next = limbs > 1 ? data.nextContextData() : null;
      this.free(data);
      if (!next) return ids;
      data = next;
    }
  }
}

function idBytes(values: BigUint64Array): Uint8Array {
  return new Uint8Array(BigUint64Array.from(values).buffer);
}
