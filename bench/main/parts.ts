/** A benchmark of `npm run bench`. */
export interface Part {
  /** Of its file in bench/results. */
  name: string;
  script: string;
  /** Options in the long form, and in the short one. */
  full: string[];
  quick: string[];
}

const MODEL = ['--model', 'deepcardio-deg2'];

/** In the order in which they run: first what is compared. */
export const PARTS: readonly Part[] = [
  part('baseline', 'baseline', '--rounds 4', '--rounds 1 --runs 3'),
  part('throughput', 'throughput', '--seconds 20 --rounds 3', '--seconds 4'),
  part('service', 'service', '--seconds 20 --rounds 3', '--seconds 4 --rounds 1'),
  part('server-fast', 'server', '--runs 11', '--runs 3'),
  part('server-one-thread', 'server', '--threads 1 --runs 7', '--threads 1 --runs 3'),
  part('clients', 'clients', '--loads 1000', '--loads 60'),
  part('client', 'client', '--runs 3', '--runs 1'),
  part('backends', 'backends', '--runs 5', '--operations'),
  part('frontier', 'frontier', '--rounds 3', '--rounds 1 --runs 2'),
];

function part(name: string, script: string, full: string, quick: string): Part {
  return {
    name,
    script: `${script}.ts`,
    full: [...MODEL, ...full.split(' ')],
    quick: [...MODEL, ...quick.split(' ')],
  };
}
