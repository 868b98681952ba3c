# syntax=docker/dockerfile:1

FROM node:26-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The image has its own Node, so the one that the package "node" would download is not needed.
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY scripts scripts
COPY src src
COPY routes routes
RUN npm run build && npm prune --omit=dev --ignore-scripts

FROM node:26-slim
WORKDIR /app
COPY LICENSE package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
RUN install -d -o node -g node /data
# A container is reached through its own address, never through its loopback, so the broker has to listen on all of
# them. It refuses to do so without API keys unless LESSOR_INSECURE=true says that somebody has decided who can
# reach it. That is for whoever runs the container to say, not for the image:
#   docker run -e LESSOR_INSECURE=true -p 127.0.0.1:7420:7420 -v lessor:/data lessor
ENV NODE_ENV=production LESSOR_HOST=0.0.0.0 LESSOR_STORE=sqlite:/data/lessor.db
USER node
# All that is written lies here: the root may be read-only (docker run --read-only --tmpfs /tmp).
VOLUME /data
EXPOSE 7420
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + (Number(process.env.LESSOR_PORT) || 7420) + '/livez').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# Draining takes at most LESSOR_SHUTDOWN_MS (15 s): give it more than Docker's 10 s, as in docker stop --timeout 20.
CMD ["node", "dist/src/main.js"]
