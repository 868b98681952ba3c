import { sentinelUnderLoad } from './sentinel-under-load.ts';

sentinelUnderLoad('replicated:1');
