/**
 * The native module, see ./native/module.c. All functions take the words of the shared memory and the words of a
 * vector, 8 or 16, then addresses in the memory.
 */
interface NativeModule {
  /** Words of the processor's widest vectors; 0 where there are no kernels for it. */
  lanes: number;
  /** Makes the calls of one task. */
  run(words: Uint32Array, lanes: number, calls: Uint32Array): void;
  /** Takes part in the open program and closes it; 1 where a thread died. */
  lead(words: Uint32Array, lanes: number, control: number, scratch: number): number;
}

/** The native kernels of this machine, and the file that they are in; null where there are none. */
export function loadNative(): (NativeModule & { path: string }) | null {
  const node = globalThis.process?.getBuiltinModule?.('node:module');
  if (!node || process.platform !== 'linux' || process.arch !== 'x64') return null;
  try {
    const require = node.createRequire(import.meta.url);
    const manifest = require.resolve('blindbeat/package.json');
    const path = manifest.replace(/package\.json$/, 'prebuilds/linux-x64/kernels.node');
    const module = require(path) as NativeModule;
    return module.lanes > 0 ? { ...module, path } : null;
  } catch {
    // A bundle, or a system without glibc: WebAssembly does as well.
    return null;
  }
}
