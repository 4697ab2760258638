/**
 * Compiles the division that src/ckks/seal/division-patch.ts puts into node-seal, and prints it: a module,
 * and the body of its function in base64, which is committed there.
 *
 *   node tools/division.ts
 */
import { main } from 'assemblyscript/asc';

const ROOT = new URL('..', import.meta.url);
const CODE_SECTION = 10;

/** The module with the one function `divide`, which imports its memory, and that function's body. */
export async function buildDivision(): Promise<{ module: Uint8Array<ArrayBuffer>; body: Uint8Array }> {
  let module = new Uint8Array();
  const options = '-O3 --noAssert --runtime stub --importMemory --noExportMemory --outFile division.wasm';
  const { error, stderr } = await main(
    [
      'src/ckks/evaluator/fast/kernels/assembly/division.ts',
      '--baseDir',
      ROOT.pathname,
      ...options.split(' '),
    ],
    {
      writeFile: (_name: string, contents: string | Uint8Array) => {
        if (typeof contents !== 'string') module = Uint8Array.from(contents);
      },
    },
  );
  if (error) throw new Error(`${stderr}`, { cause: error });
  return { module, body: onlyBody(module) };
}

/** The body of a module's only function: of its code section `[count = 1, size, body]`. */
function onlyBody(module: Uint8Array): Uint8Array {
  let at = 8; // magic and version
  const number = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = module[at++];
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < module.length) {
    const section = module[at++];
    const size = number();
    if (section !== CODE_SECTION) {
      at += size;
      continue;
    }
    if (number() !== 1) throw new Error('expected one function: the compiler made more');
    const length = number();
    return module.subarray(at, at + length);
  }
  throw new Error('the module has no code');
}

if (import.meta.main) console.log(Buffer.from((await buildDivision()).body).toString('base64'));
