/**
 * Compiles the kernels for Node on Linux (x86-64, AVX2 and AVX-512) to prebuilds/linux-x64/kernels.node, which is
 * committed, so that neither a clone nor a package needs a compiler. Where it cannot be loaded, the WebAssembly kernels
 * are used.
 *
 *   npm run native
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SOURCES = fileURLToPath(new URL('../src/ckks/evaluator/fast/kernels/native', import.meta.url));
const HEADERS = dirname(fileURLToPath(import.meta.resolve('node-api-headers/include/node_api.h')));
/** What is committed. */
export const PREBUILT = fileURLToPath(new URL('../prebuilds/linux-x64/kernels.node', import.meta.url));

const COMMON = [
  '-std=c17',
  '-O3',
  '-fPIC',
  '-fno-strict-aliasing',
  '-fvisibility=hidden',
  '-Wall',
  '-Wextra',
  '-Werror',
];
const VECTORS = {
  8: ['-mavx2'],
  16: ['-mavx512f', '-mavx512bw', '-mavx512dq', '-mavx512vl'],
};

/** Compiles the module to a file. @throws Error where there is no `cc` or it reports anything */
export function buildNative(file: string): void {
  const folder = mkdtempSync(join(tmpdir(), 'blindbeat-native-'));
  const cc = (...options: string[]) => execFileSync('cc', options, { cwd: SOURCES, stdio: 'pipe' });
  try {
    const objects = Object.entries(VECTORS).map(([lanes, options]) => {
      const object = join(folder, `kernels${lanes}.o`);
      cc(...COMMON, ...options, `-DLANES=${lanes}`, '-c', 'kernels.c', '-o', object);
      return object;
    });
    const module = join(folder, 'module.o');
    cc(...COMMON, `-I${HEADERS}`, '-c', 'module.c', '-o', module);
    mkdirSync(dirname(file), { recursive: true });
    cc('-shared', '-s', '-Wl,--build-id=none', module, ...objects, '-o', `${file}.tmp`);
    renameSync(`${file}.tmp`, file);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

if (import.meta.main) buildNative(PREBUILT);
