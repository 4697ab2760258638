/** Which kernels a server or an engine computes with; one of a release that does not tell has WebAssembly's. */
export function kernelsOf(computer: object): string {
  return 'kernels' in computer && typeof computer.kernels === 'string' ? computer.kernels : 'wasm';
}
