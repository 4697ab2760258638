import type { Plan } from '../ckks/planner/plan.ts';
import { type ParsedManifest, parseManifest } from '../ckks/wire/manifest.ts';
import { BlindbeatError } from '../errors.ts';
import type { Watch } from '../measure/progress.ts';
import { timed } from '../measure/stages.ts';
import type { OpenOptions } from '../service/server-process.ts';
import { ProcessTransport } from './process-transport.ts';
import type { Transport } from './transport.ts';

/** Which model a server's process opens, and how. */
export interface LocalServerOptions extends OpenOptions {
  /** Name or folder of the model, for the process to load. */
  model: string;
  /** The name that the loaded model must have. */
  name: string;
}

/** A server on this machine, in a process of its own, that has planned its model and waits for keys. */
export interface LocalServer extends Disposable {
  transport: Transport;
  plan: Plan;
  /** The plan's manifest, checked as a client checks one from elsewhere. */
  manifest: ParsedManifest;
  /** Milliseconds from the start of the process until the model was planned. */
  startMs: number;
  /** Of it the server's own work: the model loaded, compiled and its weights encoded. */
  openMs: number;
}

/**
 * Starts a server's process and has it open a model. Disposing the server ends the process.
 *
 * @throws BlindbeatError what `compile` and `Server.open` throw (PLAN, USAGE, ENVIRONMENT); MISMATCH if the
 * model has another name; the signal's reason
 */
export async function startServer(
  { model, name, ...options }: LocalServerOptions,
  { start, signal }: Watch,
): Promise<LocalServer> {
  using owned = new DisposableStack();
  const times = { start: 0 };
  const { transport, plan, ms } = await timed(times, 'start', async () => {
    using _task = start('starting the server', { total: 1 });
    const transport = owned.use(ProcessTransport.start());
    return { transport, ...(await transport.open(model, options, { signal })) };
  });
  const manifest = parseManifest(plan.manifest);
  if (manifest.model.name !== name) {
    throw new BlindbeatError('MISMATCH', 'the model changed while it was used: try again');
  }
  const held = owned.move();
  const dispose = () => held.dispose();
  return { transport, plan, manifest, startMs: times.start, openMs: ms, [Symbol.dispose]: dispose };
}
