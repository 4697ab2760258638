/**
 * Compiles the AssemblyScript kernels and embeds them in src/ckks/evaluator/fast/kernels/wasm.ts, which is
 * committed, so that neither a clone nor a browser needs a build step.
 *
 *   npm run kernels
 */
import { writeFileSync } from 'node:fs';
import { main } from 'assemblyscript/asc';

const ROOT = new URL('..', import.meta.url);

/** The text of src/ckks/evaluator/fast/kernels/wasm.ts. */
export async function buildKernels(): Promise<string> {
  let bytes = new Uint8Array();
  const options =
    '-O3 --noAssert --runtime stub --importMemory --noExportMemory --sharedMemory --maximumMemory 65535 --enable simd --enable threads --outFile kernels.wasm';
  const { error, stderr } = await main(
    [
      'src/ckks/evaluator/fast/kernels/assembly/index.ts',
      '--baseDir',
      new URL(ROOT).pathname,
      ...options.split(' '),
    ],
    {
      writeFile: (_name: string, contents: string | Uint8Array) => {
        if (typeof contents !== 'string') bytes = Uint8Array.from(contents);
      },
    },
  );
  if (error) throw new Error(`${stderr}`, { cause: error });
  return [
    '/** What `npm run kernels` made of the AssemblyScript in ./assembly: a WebAssembly module, base64. Do not edit. */',
    'export const WASM =',
    `  '${Buffer.from(bytes).toString('base64')}';`,
    '',
  ].join('\n');
}

if (import.meta.main) {
  writeFileSync(new URL('src/ckks/evaluator/fast/kernels/wasm.ts', ROOT), await buildKernels());
}
