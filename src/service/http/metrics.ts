import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Evaluators, Outcome } from '../evaluators.ts';
import type { KeyStore } from '../key-store.ts';

/** Seconds: from a refusal to an evaluation of a large network behind a queue. */
const BUCKETS = [0.005, 0.02, 0.1, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 30, 60];

/** What a service tells Prometheus. No label comes from a client. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #requests: Counter;
  readonly #seconds: Histogram;
  readonly #bytes: Counter;
  readonly #steps: Histogram;

  constructor(evaluators: Evaluators, keys: KeyStore) {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    this.#requests = new Counter({
      name: 'blindbeat_requests_total',
      help: 'Answers, by route and status',
      labelNames: ['method', 'route', 'status'],
      registers,
    });
    this.#seconds = new Histogram({
      name: 'blindbeat_request_seconds',
      help: 'From the first byte of a request to the last of its answer',
      labelNames: ['method', 'route'],
      buckets: BUCKETS,
      registers,
    });
    this.#bytes = new Counter({
      name: 'blindbeat_bytes_total',
      help: 'Bytes of bodies',
      labelNames: ['direction'],
      registers,
    });
    this.#steps = new Histogram({
      name: 'blindbeat_evaluation_seconds',
      help: 'Steps of evaluations: waiting, loading keys, evaluating',
      labelNames: ['model', 'step'],
      buckets: BUCKETS,
      registers,
    });
    const gauges: [name: string, help: string, value: () => number][] = [
      ['evaluators', 'Evaluators that are open', () => evaluators.load.workers],
      ['jobs_waiting', 'Requests that wait for an evaluator', () => evaluators.load.waiting],
      ['jobs_running', 'Requests that are being evaluated', () => evaluators.load.running],
      ['evaluator_restarts', 'Evaluators that were started again', () => evaluators.load.restarts],
      [
        'loaded_keys',
        'Clients whose keys are in the memory of an evaluator',
        () => evaluators.load.loadedKeys,
      ],
      ['stored_key_files', 'Files of keys on the disk', () => keys.load.files],
      ['stored_key_bytes', 'Bytes of keys on the disk', () => keys.load.bytes],
    ];
    for (const [name, help, value] of gauges) {
      const collect = function (this: Gauge) {
        this.set(value());
      };
      new Gauge({ name: `blindbeat_${name}`, help, registers, collect });
    }
  }

  /** Counts an answer; its route as it was declared, not as it was asked for. */
  answered(
    labels: { method: string; route: string; status: number },
    ms: number,
    bytes: { in: number; out: number },
  ) {
    const { method, route } = labels;
    this.#requests.inc(labels);
    this.#seconds.observe({ method, route }, ms / 1000);
    for (const [direction, count] of Object.entries(bytes)) this.#bytes.inc({ direction }, count);
  }

  /** Counts an evaluation. */
  evaluated(model: string, { queueMs, loadKeysMs, evaluateMs }: Outcome): void {
    for (const [step, ms] of Object.entries({ queue: queueMs, load: loadKeysMs, evaluate: evaluateMs }))
      this.#steps.observe({ model, step }, ms / 1000);
  }

  /** In Prometheus' text format, of this type. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }
}
