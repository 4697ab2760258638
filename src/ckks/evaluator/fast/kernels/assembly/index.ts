export { forwardLoose, forwardTight, inverse } from './ntt';
export {
  add,
  addPeriodic,
  convertBase,
  copy,
  modDown,
  fillZeros,
  findZero,
  multiplyPairs,
  periodicProducts,
  placeKey,
  shift,
  square,
  switchProducts,
  switchStart,
  automorphism,
} from './products';
export { expandSeed, reduceUniform, seedState, unpackResidues } from './seeds';
export { lead, serve } from './work';
