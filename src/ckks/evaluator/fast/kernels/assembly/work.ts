import { forwardLoose, forwardTight, inverse } from './ntt';
import {
  add, addPeriodic, automorphism, convertBase, copy, fillZeros, findZero, modDown, multiplyPairs, periodicProducts,
  placeKey, shift, square, switchProducts, switchStart,
} from './products';
import { expandSeed, reduceUniform, unpackResidues } from './seeds';

// Several threads on one program. A program is phases, one after another; a phase is tasks, which threads
// take from a counter; a task is a list of kernel calls as words: the kernel's number, then its arguments; 0
// ends it. An odd address stands for the thread's own scratch memory: its start plus the address, less one.
//
// Control block, a cache line each: the epoch (odd while a program is open), threads inside it, threads
// asleep, the rest.

const INSIDE: usize = 64;
const ASLEEP: usize = 128;
const PROGRAM: usize = 192;
/** Set by a thread that died. */
const FAILED: usize = 196;
/** Whether the leading thread may sleep: a browser's main thread may not. */
const MAY_SLEEP: usize = 200;

const STOP: u32 = 0xffffffff;

// A phase: the next task, the number of tasks done (a cache line each), then the number of tasks and their
// table's address.
const PHASE: usize = 192;
const DONE: usize = 64;
const COUNT: usize = 128;
const TASKS: usize = 132;

/** Looks at a counter before a thread goes to sleep: some tens of microseconds. */
const SPINS: i32 = 20000;
/** Nanoseconds of sleep before a thread looks whether another one died. */
const NAP: i64 = 100000000;

/** A thread's life: takes part in programs until it is told to stop. */
export function serve(control: usize, scratch: usize): void {
  let seen: u32 = 0;
  for (;;) {
    let epoch = atomic.load<u32>(control);
    for (let spins = 0; !(epoch & 1) || epoch == seen; epoch = atomic.load<u32>(control)) {
      if (++spins < SPINS) continue;
      atomic.add<u32>(control + ASLEEP, 1);
      atomic.wait<i32>(control, epoch, -1);
      atomic.sub<u32>(control + ASLEEP, 1);
      spins = 0;
    }
    if (epoch == STOP) return;
    seen = epoch;
    // The leader closes a program, then waits until nobody is inside: nobody reads it afterwards.
    atomic.add<u32>(control + INSIDE, 1);
    if (atomic.load<u32>(control) == epoch) takePart(control, scratch, true);
    atomic.sub<u32>(control + INSIDE, 1);
  }
}

/** Opens the program at `PROGRAM`, takes part in it and closes it. Returns 0, or 1 when a thread died. */
export function lead(control: usize, scratch: usize): u32 {
  const epoch = atomic.load<u32>(control) + 1;
  atomic.store<u32>(control, epoch);
  if (atomic.load<u32>(control + ASLEEP)) atomic.notify(control, -1);
  takePart(control, scratch, load<u32>(control + MAY_SLEEP) != 0);
  atomic.store<u32>(control, epoch == STOP - 2 ? 0 : epoch + 1);
  while (atomic.load<u32>(control + INSIDE)) if (atomic.load<u32>(control + FAILED)) break;
  return atomic.load<u32>(control + FAILED);
}

function takePart(control: usize, scratch: usize, maySleep: bool): void {
  const program = <usize>load<u32>(control + PROGRAM);
  const end = program + 64 + <usize>load<u32>(program) * PHASE;
  for (let phase = program + 64; phase < end; phase += PHASE) {
    const count = load<u32>(phase + COUNT);
    const tasks = <usize>load<u32>(phase + TASKS);
    for (;;) {
      const task = atomic.add<u32>(phase, 1);
      if (task >= count) break;
      execute(<usize>load<u32>(tasks + ((<usize>task) << 2)), scratch);
      if (atomic.add<u32>(phase + DONE, 1) + 1 == count) atomic.notify(phase + DONE, -1);
    }
    let spins = 0;
    for (let done = atomic.load<u32>(phase + DONE); done < count; done = atomic.load<u32>(phase + DONE)) {
      if (++spins < SPINS) continue;
      if (atomic.load<u32>(control + FAILED)) return;
      if (maySleep) atomic.wait<i32>(phase + DONE, done, NAP);
    }
  }
}

// @ts-ignore: decorator
@inline
function word(call: usize, index: usize): u32 {
  return load<u32>(call + (index << 2));
}

// @ts-ignore: decorator
@inline
function pointer(call: usize, index: usize, scratch: usize): usize {
  const address = <usize>load<u32>(call + (index << 2));
  return address & 1 ? scratch + address - 1 : address;
}

function execute(c: usize, s: usize): void {
  for (;;) {
    switch (load<u32>(c)) {
      case 1:
        forwardTight(pointer(c, 1, s), pointer(c, 2, s), word(c, 3), word(c, 4), word(c, 5), word(c, 6));
        c += 7 * 4;
        break;
      case 2:
        forwardLoose(
          pointer(c, 1, s), pointer(c, 2, s), word(c, 3), word(c, 4), word(c, 5), word(c, 6), word(c, 7), word(c, 8),
        );
        c += 9 * 4;
        break;
      case 3:
        inverse(pointer(c, 1, s), pointer(c, 2, s), word(c, 3), word(c, 4), word(c, 5), word(c, 6), word(c, 7));
        c += 8 * 4;
        break;
      case 4:
        switchProducts(
          pointer(c, 1, s), pointer(c, 2, s), pointer(c, 3, s), pointer(c, 4, s), word(c, 5), word(c, 6), word(c, 7),
          pointer(c, 8, s), pointer(c, 9, s), pointer(c, 10, s), pointer(c, 11, s), word(c, 12), word(c, 13),
          word(c, 14), word(c, 15), word(c, 16), word(c, 17), word(c, 18), word(c, 19),
        );
        c += 20 * 4;
        break;
      case 5:
        periodicProducts(
          word(c, 1), word(c, 2), word(c, 3), pointer(c, 4, s), pointer(c, 5, s), pointer(c, 6, s), pointer(c, 7, s),
          word(c, 8), word(c, 9), word(c, 10), word(c, 11), word(c, 12), word(c, 13), word(c, 14), word(c, 15),
        );
        c += 16 * 4;
        break;
      case 6:
        square(
          word(c, 1), word(c, 2), word(c, 3), word(c, 4), word(c, 5), word(c, 6), word(c, 7), word(c, 8), word(c, 9),
          word(c, 10),
        );
        c += 11 * 4;
        break;
      case 7:
        add(word(c, 1), word(c, 2), word(c, 3), word(c, 4), word(c, 5));
        c += 6 * 4;
        break;
      case 8:
        addPeriodic(word(c, 1), word(c, 2), word(c, 3), word(c, 4), word(c, 5), word(c, 6));
        c += 7 * 4;
        break;
      case 9:
        shift(pointer(c, 1, s), word(c, 2), word(c, 3), word(c, 4));
        c += 5 * 4;
        break;
      case 10:
        modDown(
          pointer(c, 1, s), pointer(c, 2, s), word(c, 3), word(c, 4), word(c, 5), word(c, 6), word(c, 7), word(c, 8),
          word(c, 9), word(c, 10),
        );
        c += 11 * 4;
        break;
      case 11:
        findZero(word(c, 1), word(c, 2), word(c, 3));
        c += 4 * 4;
        break;
      case 12:
        fillZeros(word(c, 1), word(c, 2), word(c, 3), word(c, 4), word(c, 5));
        c += 6 * 4;
        break;
      case 13:
        switchStart(
          word(c, 1), word(c, 2), pointer(c, 3, s), word(c, 4), word(c, 5), word(c, 6), word(c, 7), word(c, 8),
          word(c, 9), word(c, 10), word(c, 11), word(c, 12),
        );
        c += 13 * 4;
        break;
      case 14:
        copy(word(c, 1), word(c, 2), word(c, 3));
        c += 4 * 4;
        break;
      case 15:
        multiplyPairs(
          word(c, 1), word(c, 2), word(c, 3), word(c, 4), word(c, 5), word(c, 6), word(c, 7), word(c, 8), word(c, 9),
          word(c, 10), word(c, 11), word(c, 12),
        );
        c += 13 * 4;
        break;
      case 16:
        convertBase(
          pointer(c, 1, s), word(c, 2), word(c, 3), word(c, 4), word(c, 5), pointer(c, 6, s), word(c, 7), word(c, 8),
        );
        c += 9 * 4;
        break;
      case 17:
        automorphism(pointer(c, 1, s), word(c, 2), word(c, 3), word(c, 4), word(c, 5), word(c, 6));
        c += 7 * 4;
        break;
      case 18:
        expandSeed(word(c, 1), word(c, 2), word(c, 3), word(c, 4), pointer(c, 5, s), pointer(c, 6, s));
        c += 7 * 4;
        break;
      case 19:
        reduceUniform(
          pointer(c, 1, s), pointer(c, 2, s), word(c, 3), word(c, 4), word(c, 5), word(c, 6), word(c, 7), word(c, 8),
        );
        c += 9 * 4;
        break;
      case 20:
        unpackResidues(word(c, 1), word(c, 2), pointer(c, 3, s), word(c, 4), word(c, 5), word(c, 6));
        c += 7 * 4;
        break;
      case 21:
        placeKey(pointer(c, 1, s), word(c, 2), word(c, 3), word(c, 4), word(c, 5));
        c += 6 * 4;
        break;
      default:
        return;
    }
  }
}
