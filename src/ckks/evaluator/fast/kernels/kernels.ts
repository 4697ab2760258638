import { BlindbeatError } from '../../../../errors.ts';
import { KERNEL_KINDS, type KernelKind } from '../../executor.ts';
import { loadNative } from './native.ts';
import { WASM } from './wasm.ts';

/** The control block of threads in words: see ./assembly/work.ts. */
export const CONTROL = { epoch: 0, asleep: 32, program: 48, failed: 49, maySleep: 50, words: 64 };

/**
 * The kernels of the fast backend as WebAssembly offers them: polynomials of n residues as 32-bit words in
 * one memory, `Pointer`s are byte addresses, all of them multiples of 16. What each computes is written where
 * it is implemented, in ./assembly; property tests are in test/ckks/evaluator/fast/kernels/kernels.test.ts.
 */
export interface Kernels {
  forwardTight(src: Pointer, dst: Pointer, n: number, table: Pointer, q: number, offset: number): void;
  forwardLoose(
    src: Pointer,
    dst: Pointer,
    n: number,
    table: Pointer,
    q: number,
    offset: number,
    reduce: number,
    one: number,
  ): void;
  inverse(
    src: Pointer,
    dst: Pointer,
    n: number,
    table: Pointer,
    q: number,
    inverseOfN: number,
    inverseOfNShoup: number,
  ): void;
  switchProducts(
    firstA: Pointer,
    restA: Pointer,
    firstB: Pointer,
    restB: Pointer,
    step: number,
    key: Pointer,
    start: Pointer,
    outA0: Pointer,
    outA1: Pointer,
    outB0: Pointer,
    outB1: Pointer,
    n: number,
    count: number,
    stride: number,
    group: number,
    q: number,
    one: number,
    carry: number,
    carryShoup: number,
  ): void;
  periodicProducts(
    columns: Pointer,
    offset: number,
    weights: Pointer,
    out0: Pointer,
    out1: Pointer,
    out2: Pointer,
    out3: Pointer,
    n: number,
    run: number,
    count: number,
    group: number,
    q: number,
    one: number,
    carry: number,
    carryShoup: number,
  ): void;
  square(
    c0: Pointer,
    c1: Pointer,
    out0: Pointer,
    out1: Pointer,
    out2: Pointer,
    n: number,
    q: number,
    one: number,
    carry: number,
    carryShoup: number,
  ): void;
  add(a: Pointer, b: Pointer, out: Pointer, n: number, q: number): void;
  addPeriodic(a: Pointer, values: Pointer, out: Pointer, n: number, run: number, q: number): void;
  shift(data: Pointer, n: number, value: number, q: number): void;
  modDown(
    a: Pointer,
    b: Pointer,
    addend: Pointer,
    table: Pointer,
    out: Pointer,
    n: number,
    q: number,
    bound: number,
    factor: number,
    factorShoup: number,
  ): void;
  findZero(a: Pointer, n: number, flag: Pointer): void;
  fillZeros(a: Pointer, marks: Pointer, out: Pointer, n: number, q: number): void;
  switchStart(
    key: Pointer,
    factors: Pointer,
    f: Pointer,
    out: Pointer,
    n: number,
    count: number,
    stride: number,
    group: number,
    q: number,
    one: number,
    carry: number,
    carryShoup: number,
  ): void;
  copy(a: Pointer, out: Pointer, n: number): void;
  multiplyPairs(
    a0: Pointer,
    a1: Pointer,
    b0: Pointer,
    b1: Pointer,
    out0: Pointer,
    out1: Pointer,
    out2: Pointer,
    n: number,
    q: number,
    one: number,
    carry: number,
    carryShoup: number,
  ): void;
  automorphism(a: Pointer, table: Pointer, plus: Pointer, out: Pointer, n: number, q: number): void;
  convertBase(
    src: Pointer,
    step: number,
    factors: Pointer,
    count: number,
    start: number,
    out: Pointer,
    n: number,
    q: number,
  ): void;
  expandSeed(state: Pointer, table: Pointer, first: number, count: number, out: Pointer, room: Pointer): void;
  reduceUniform(
    words: Pointer,
    out: Pointer,
    n: number,
    q: number,
    one: number,
    carry: number,
    carryShoup: number,
    flag: Pointer,
  ): void;
  unpackResidues(bytes: Pointer, bits: number, out: Pointer, n: number, q: number, flag: Pointer): void;
  placeKey(residues: Pointer, key: Pointer, n: number, stride: number, table: Pointer): void;
}

/** The kernels, what is only called directly, and what threads run: see ./assembly/work.ts. */
export interface Module extends Kernels {
  seedState(seed: Pointer, table: Pointer, state: Pointer, room: Pointer): void;
  lead(control: Pointer, scratch: Pointer): number;
}

/** In the order of their numbers in a program, from 1. */
export const KERNELS = [
  'forwardTight',
  'forwardLoose',
  'inverse',
  'switchProducts',
  'periodicProducts',
  'square',
  'add',
  'addPeriodic',
  'shift',
  'modDown',
  'findZero',
  'fillZeros',
  'switchStart',
  'copy',
  'multiplyPairs',
  'convertBase',
  'automorphism',
  'expandSeed',
  'reduceUniform',
  'unpackResidues',
  'placeKey',
] as const satisfies (keyof Kernels)[];

type Pointer = number;

/** Words of a vector; the layout of keys and of transforms' tables depends on it. */
const LANES: Readonly<Record<KernelKind, number>> = { avx512: 16, avx2: 8, wasm: 4 };
/** The smallest ring degree of native kernels: their passes work on whole vectors. */
const NATIVE_FROM = 1024;

/** Kernels on one memory. */
export interface KernelSet {
  kind: KernelKind;
  /** Words of a vector. */
  lanes: number;
  /** Makes calls at once. */
  module: Module;
  /** What the life of another thread starts from, see ./threads.ts. */
  thread: { module: WebAssembly.Module } | { native: string; lanes: number };
}

let compiling: Promise<WebAssembly.Module> | undefined;

/** The kinds of kernels that this machine has for rings of degree n, widest vectors first. */
export function availableKernels(n: number): KernelKind[] {
  const widest = n < NATIVE_FROM ? 0 : (loadNative()?.lanes ?? 0);
  return KERNEL_KINDS.filter((kind) => kind === 'wasm' || LANES[kind] <= widest);
}

/**
 * The kernels on a memory.
 *
 * @throws BlindbeatError ENVIRONMENT where this machine cannot load them
 */
export async function loadKernels(memory: WebAssembly.Memory, kind: KernelKind): Promise<KernelSet> {
  if (kind !== 'wasm') return nativeKernels(memory, kind);
  const module = await compileKernels();
  const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
  return { kind, lanes: LANES[kind], module: exports as unknown as Module, thread: { module } };
}

function nativeKernels(memory: WebAssembly.Memory, kind: KernelKind): KernelSet {
  const native = loadNative();
  const lanes = LANES[kind];
  if (!native || native.lanes < lanes)
    throw new BlindbeatError(
      'ENVIRONMENT',
      `there are no ${kind} kernels for this machine: they need Node on Linux with glibc, and a processor that ` +
        'has these instructions; leave the choice open, or take wasm, which runs everywhere',
    );
  const words = new Uint32Array(memory.buffer);
  // `seedState` is never part of a program.
  const calls = [...KERNELS, 'seedState'].map((name, k) => [
    name,
    (...args: number[]) => native.run(words, lanes, Uint32Array.of(k + 1, ...args, 0)),
  ]);
  const lead = (control: Pointer, scratch: Pointer) => {
    const [epoch, asleep] = [control / 4 + CONTROL.epoch, control / 4 + CONTROL.asleep];
    Atomics.add(words, epoch, 1);
    if (Atomics.load(words, asleep) > 0) Atomics.notify(new Int32Array(words.buffer), epoch);
    return native.lead(words, lanes, control, scratch);
  };
  const module = { ...Object.fromEntries(calls), lead } as Module;
  return { kind, lanes, module, thread: { native: native.path, lanes } };
}

async function compileKernels(): Promise<WebAssembly.Module> {
  try {
    compiling ??= WebAssembly.compile(Uint8Array.from(atob(WASM), (c) => c.charCodeAt(0)));
    return await compiling;
  } catch (cause) {
    throw new BlindbeatError(
      'ENVIRONMENT',
      'the fast backend could not be loaded: it needs WebAssembly with SIMD and threads, as Node 24 and ' +
        'current browsers have (or use the seal backend)',
      { cause },
    );
  }
}
