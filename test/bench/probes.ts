import type { Probe } from '../../bench/probe/probe.ts';

/** What a probe might have measured: evaluations of so many milliseconds. */
export function fakeProbe(
  runs: number[],
  { scores = [1, 0, 0, 0], ...client }: Partial<Probe['client']> = {},
  server: Partial<Probe['server']> = {},
): Probe {
  return {
    server: {
      openMs: 700,
      threads: 2,
      kernels: 'wasm',
      keySwitching: 'hybrid',
      loadKeysMs: 400,
      loadKeysCpuMs: 500,
      loadedKeys: 150e6,
      firstMs: 800,
      runs: runs.map((ms) => ({
        ms,
        cpuMs: 2 * ms,
        stages: [
          { name: 'block 1', ms: 0.75 * ms },
          { name: 'dense', ms: 0.25 * ms },
        ],
      })),
      peakMemory: 500e6,
      ...server,
    },
    client: {
      readyMs: 150,
      keygenMs: 1800,
      encryptMs: 50,
      bytes: { evaluationKeys: 64e6, request: 785e3 },
      peakMemory: 200e6,
      decryptMs: 6,
      class: 'N',
      scores,
      ...client,
    },
  };
}
