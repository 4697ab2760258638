import { hexDigest } from '../../digest.ts';

/**
 * A faster division for SEAL. node-seal's build divides 128 by 64 bits one bit at a time
 * (`divide_uint128_uint64_inplace_generic`, native/src/seal/util/uintarith.cpp), and more than nine tenths of
 * the time of a context go there: 2 n divisions for the tables of each prime. In the one build named here,
 * the body of this function is replaced by one with the same results
 * (../evaluator/fast/kernels/assembly/division.ts). It divides public numbers: primes, roots of unity.
 */
const BUILD = {
  /** SHA-256 of node-seal 7.0.0's dist/seal_allows.wasm. */
  hash: '15a9f4c91fa12fad2fa22ee36bab90c34a23164fa36f7fcc272113239a9113b8',
  /** Where the function's body is. */
  start: 19256,
  length: 923,
};
/** What `node tools/division.ts` prints; shorter than the body that it replaces. */
export const BODY =
  'AQh+IAApAwAhAyACIAApAwgiBCABgDcDCCADIAF5IgWGIgZCIIghCCAEIAGCIAWGIANCAYhCPyAFfYiEIgQgASAFhiIHQiCIIgmAIQEgBCAJgiEDA0AgAUIgiEIAUgR/QQEFIAEgB0L/////D4N+IANCIIYgCIRWCwRAAkAgAUIBfSEBIAMgCXwiA0IgiEIAUg0ADAILCwsgBkL/////D4MhCSAEQiCGIAZCIIiEIAEgB359IgogB0IgiCIIgCEDIAogCIIhBANAIANCIIhCAFIEf0EBBSADIAdC/////w+DfiAEQiCGIAmEVgsEQAJAIANCAX0hAyAEIAh8IgRCIIhCAFINAAwCCwsLIAIgAUIghiADhDcDACAAIAZC/////w+DIApCIIaEIAMgB359IAWINwMAIABCADcDCAs=';
const NOP = 0x01;
const END = 0x0b;

/** SEAL's WebAssembly module with the faster division; null for any build but the one that is known. */
export function withFastDivision(wasm: Uint8Array): Uint8Array<ArrayBuffer> | null {
  if (hexDigest(wasm) !== BUILD.hash) return null;
  const out = Uint8Array.from(wasm);
  const end = BUILD.start + BUILD.length;
  const body = Uint8Array.from(atob(BODY), (c) => c.charCodeAt(0));
  out.fill(NOP, BUILD.start, end);
  out.set(body.subarray(0, -1), BUILD.start); // all but its end
  out[end - 1] = END;
  return out;
}
