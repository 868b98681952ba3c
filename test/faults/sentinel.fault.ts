import { sentinelUnderLoad } from './sentinel-under-load.ts';

sentinelUnderLoad('default');
