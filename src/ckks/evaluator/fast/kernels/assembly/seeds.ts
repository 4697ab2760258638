// Uniform polynomials from seeds, as SEAL makes them (native/src/seal/randomgen.cpp, util/rlwe.cpp): its generator
// fills buffers of 4096 bytes with BLAKE2Xb of a counter, keyed by the seed (Aumasson et al., BLAKE2X, 2016; BLAKE2b:
// RFC 7693), and every 64-bit word is reduced modulo the prime, words near 2^64 excepted.
//
// A buffer is a root hash of the counter and 64 node hashes of the root, which differ in their number alone, so that two
// nodes are hashed side by side in 64-bit lanes. `table` points to the round's message offsets, 12 x 16 bytes, then the
// 8 words of the initial vector; `state` to 8 words, the root's state after the block of the key.

import { reduceSums } from './field';

const VECTOR: usize = 192;
const NODES: u32 = 64;

// @ts-ignore: decorator
@inline
function rotate32(x: v128): v128 {
  return v128.shuffle<i32>(x, x, 1, 0, 3, 2);
}

// @ts-ignore: decorator
@inline
function rotate24(x: v128): v128 {
  return v128.shuffle<i8>(x, x, 3, 4, 5, 6, 7, 0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10);
}

// @ts-ignore: decorator
@inline
function rotate16(x: v128): v128 {
  return v128.shuffle<i16>(x, x, 1, 2, 3, 0, 5, 6, 7, 4);
}

// @ts-ignore: decorator
@inline
function rotate63(x: v128): v128 {
  return v128.or(i64x2.add(x, x), i64x2.shr_u(x, 63));
}

/** The message word of a round's place, in both lanes. */
// @ts-ignore: decorator
@inline
function message(words: usize, round: usize, place: usize): v128 {
  return v128.load_splat<u64>(words + <usize>load<u8>(round + place));
}

// @ts-ignore: decorator
@inline
function vector(table: usize, k: usize): v128 {
  return v128.load_splat<u64>(table + VECTOR + (k << 3));
}

/**
 * BLAKE2b's compression of the last block of two hashes: `h` points to their states, 8 x [2] words, which are
 * replaced; `words` to the message, 16 words, the same for both; `length` is the bytes hashed so far, this block
 * included; `last` is -1 for the last block and 0 for others.
 */
function compress(h: usize, words: usize, table: usize, length: u64, last: u64): void {
  let v0 = v128.load(h), v1 = v128.load(h, 16), v2 = v128.load(h, 32), v3 = v128.load(h, 48);
  let v4 = v128.load(h, 64), v5 = v128.load(h, 80), v6 = v128.load(h, 96), v7 = v128.load(h, 112);
  let v8 = vector(table, 0), v9 = vector(table, 1), v10 = vector(table, 2), v11 = vector(table, 3);
  let v12 = v128.xor(vector(table, 4), i64x2.splat(length)), v13 = vector(table, 5);
  let v14 = v128.xor(vector(table, 6), i64x2.splat(last)), v15 = vector(table, 7);
  for (let round = table; round < table + VECTOR; round += 16) {
    v0 = i64x2.add(i64x2.add(v0, v4), message(words, round, 0));
    v1 = i64x2.add(i64x2.add(v1, v5), message(words, round, 2));
    v2 = i64x2.add(i64x2.add(v2, v6), message(words, round, 4));
    v3 = i64x2.add(i64x2.add(v3, v7), message(words, round, 6));
    v12 = rotate32(v128.xor(v12, v0));
    v13 = rotate32(v128.xor(v13, v1));
    v14 = rotate32(v128.xor(v14, v2));
    v15 = rotate32(v128.xor(v15, v3));
    v8 = i64x2.add(v8, v12);
    v9 = i64x2.add(v9, v13);
    v10 = i64x2.add(v10, v14);
    v11 = i64x2.add(v11, v15);
    v4 = rotate24(v128.xor(v4, v8));
    v5 = rotate24(v128.xor(v5, v9));
    v6 = rotate24(v128.xor(v6, v10));
    v7 = rotate24(v128.xor(v7, v11));
    v0 = i64x2.add(i64x2.add(v0, v4), message(words, round, 1));
    v1 = i64x2.add(i64x2.add(v1, v5), message(words, round, 3));
    v2 = i64x2.add(i64x2.add(v2, v6), message(words, round, 5));
    v3 = i64x2.add(i64x2.add(v3, v7), message(words, round, 7));
    v12 = rotate16(v128.xor(v12, v0));
    v13 = rotate16(v128.xor(v13, v1));
    v14 = rotate16(v128.xor(v14, v2));
    v15 = rotate16(v128.xor(v15, v3));
    v8 = i64x2.add(v8, v12);
    v9 = i64x2.add(v9, v13);
    v10 = i64x2.add(v10, v14);
    v11 = i64x2.add(v11, v15);
    v4 = rotate63(v128.xor(v4, v8));
    v5 = rotate63(v128.xor(v5, v9));
    v6 = rotate63(v128.xor(v6, v10));
    v7 = rotate63(v128.xor(v7, v11));
    v0 = i64x2.add(i64x2.add(v0, v5), message(words, round, 8));
    v1 = i64x2.add(i64x2.add(v1, v6), message(words, round, 10));
    v2 = i64x2.add(i64x2.add(v2, v7), message(words, round, 12));
    v3 = i64x2.add(i64x2.add(v3, v4), message(words, round, 14));
    v15 = rotate32(v128.xor(v15, v0));
    v12 = rotate32(v128.xor(v12, v1));
    v13 = rotate32(v128.xor(v13, v2));
    v14 = rotate32(v128.xor(v14, v3));
    v10 = i64x2.add(v10, v15);
    v11 = i64x2.add(v11, v12);
    v8 = i64x2.add(v8, v13);
    v9 = i64x2.add(v9, v14);
    v5 = rotate24(v128.xor(v5, v10));
    v6 = rotate24(v128.xor(v6, v11));
    v7 = rotate24(v128.xor(v7, v8));
    v4 = rotate24(v128.xor(v4, v9));
    v0 = i64x2.add(i64x2.add(v0, v5), message(words, round, 9));
    v1 = i64x2.add(i64x2.add(v1, v6), message(words, round, 11));
    v2 = i64x2.add(i64x2.add(v2, v7), message(words, round, 13));
    v3 = i64x2.add(i64x2.add(v3, v4), message(words, round, 15));
    v15 = rotate16(v128.xor(v15, v0));
    v12 = rotate16(v128.xor(v12, v1));
    v13 = rotate16(v128.xor(v13, v2));
    v14 = rotate16(v128.xor(v14, v3));
    v10 = i64x2.add(v10, v15);
    v11 = i64x2.add(v11, v12);
    v8 = i64x2.add(v8, v13);
    v9 = i64x2.add(v9, v14);
    v5 = rotate63(v128.xor(v5, v10));
    v6 = rotate63(v128.xor(v6, v11));
    v7 = rotate63(v128.xor(v7, v8));
    v4 = rotate63(v128.xor(v4, v9));
  }
  v128.store(h, v128.xor(v128.load(h, 0), v128.xor(v0, v8)), 0);
  v128.store(h, v128.xor(v128.load(h, 16), v128.xor(v1, v9)), 16);
  v128.store(h, v128.xor(v128.load(h, 32), v128.xor(v2, v10)), 32);
  v128.store(h, v128.xor(v128.load(h, 48), v128.xor(v3, v11)), 48);
  v128.store(h, v128.xor(v128.load(h, 64), v128.xor(v4, v12)), 64);
  v128.store(h, v128.xor(v128.load(h, 80), v128.xor(v5, v13)), 80);
  v128.store(h, v128.xor(v128.load(h, 96), v128.xor(v6, v14)), 96);
  v128.store(h, v128.xor(v128.load(h, 112), v128.xor(v7, v15)), 112);
}

/** state = BLAKE2Xb's root after the block of the key: a seed of 64 bytes. `room` points to 256 bytes. */
export function seedState(seed: usize, table: usize, state: usize, room: usize): void {
  const words = room + 128;
  memory.copy(words, seed, 64);
  memory.fill(words + 64, 0, 64);
  // Parameters: digest 64 bytes, key 64 bytes, fanout and depth 1; the output has 4096 bytes.
  for (let k: usize = 0; k < 8; k++) {
    const parameter: u64 = k == 0 ? 0x01014040 : k == 1 ? (<u64>4096) << 32 : 0;
    v128.store(room + (k << 4), v128.xor(vector(table, k), i64x2.splat(parameter)));
  }
  compress(room, words, table, 128, 0);
  for (let k: usize = 0; k < 8; k++) store<u64>(state + (k << 3), load<u64>(room + (k << 4)));
}

/** out = `count` buffers of the generator, 4096 bytes each, from number `first` on. `room` points to 256 bytes. */
export function expandSeed(state: usize, table: usize, first: u32, count: u32, out: usize, room: usize): void {
  const words = room + 128;
  for (let buffer: u32 = 0; buffer < count; buffer++) {
    memory.fill(words, 0, 128);
    store<u64>(words, <u64>first + <u64>buffer);
    for (let k: usize = 0; k < 8; k++) v128.store(room + (k << 4), v128.load_splat<u64>(state + (k << 3)));
    compress(room, words, table, 136, -1);
    for (let k: usize = 0; k < 8; k++) store<u64>(words + (k << 3), load<u64>(room + (k << 4)));
    for (let node: u32 = 0; node < NODES; node += 2, out += 128) {
      // Parameters: digest 64 bytes, leaves and inner hashes of 64 bytes, the node's number, the output's length.
      v128.store(room, v128.xor(vector(table, 0), i64x2.splat((<u64>64 << 32) | 64)));
      const number = i64x2.replace_lane(
        i64x2.splat(<u64>node | (<u64>4096 << 32)), 1, <u64>(node + 1) | (<u64>4096 << 32),
      );
      v128.store(room, v128.xor(vector(table, 1), number), 16);
      v128.store(room, v128.xor(vector(table, 2), i64x2.splat(64 << 8)), 32);
      for (let k: usize = 3; k < 8; k++) v128.store(room + (k << 4), vector(table, k));
      compress(room, words, table, 64, -1);
      for (let k: usize = 0; k < 8; k += 2) {
        const even = v128.load(room + (k << 4)), odd = v128.load(room + (k << 4), 16);
        v128.store(out + (k << 3), v128.shuffle<i64>(even, odd, 0, 2));
        v128.store(out + (k << 3), v128.shuffle<i64>(even, odd, 1, 3), 64);
      }
    }
  }
}

/**
 * out = words mod q in [0, q), n of 64 bits each; flag = 1 where one of them is within 2^32 of 2^64, which SEAL may
 * draw again.
 */
export function reduceUniform(
  words: usize, out: usize, n: u32, modulus: u32, inverse: u32, carry: u32, carryShoup: u32, flag: usize,
): void {
  const q = i32x4.splat(modulus), q2 = i32x4.splat(2 * modulus), one = i32x4.splat(inverse);
  const c = i32x4.splat(carry), cs = i32x4.splat(carryShoup);
  let highest = i32x4.splat(0);
  for (const end = out + ((<usize>n) << 2); out < end; out += 16, words += 32) {
    const low = v128.load(words), high = v128.load(words, 16);
    highest = i32x4.max_u(highest, v128.shuffle<i32>(low, high, 1, 3, 5, 7));
    v128.store(out, reduceSums(low, high, c, cs, one, q, q2));
  }
  if (v128.any_true(i32x4.eq(highest, i32x4.splat(-1)))) store<u32>(flag, 1);
}

/** out = n residues that are packed to `bits` bits each, the first lowest; flag = 1 where one is not below q. */
export function unpackResidues(bytes: usize, bits: u32, out: usize, n: u32, modulus: u32, flag: usize): void {
  const mask = (<u64>1 << bits) - 1;
  let position: usize = 0;
  let highest: u32 = 0;
  for (const end = out + ((<usize>n) << 2); out < end; out += 4, position += bits) {
    const value = <u32>((load<u64>(bytes + (position >> 3)) >> (position & 7)) & mask);
    highest = max(highest, value);
    store<u32>(out, value);
  }
  if (highest >= modulus) store<u32>(flag, 1);
}
