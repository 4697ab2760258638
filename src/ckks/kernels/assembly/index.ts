export { forwardLoose, forwardTight, inverse } from './ntt';
export {
  add,
  addPeriodic,
  copy,
  divide,
  fillZeros,
  findZero,
  multiplyPairs,
  periodicProducts,
  placeKey,
  shift,
  square,
  switchProducts,
  switchStart,
} from './products';
export { lead, serve } from './work';
